# SPDX-License-Identifier: Apache-2.0
"""What ./dev bench vm is made of."""
