# SPDX-License-Identifier: Apache-2.0
"""The lab: a real VM in seconds, from Debian packages alone. See lab/README.md."""
