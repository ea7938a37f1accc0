# SPDX-License-Identifier: Apache-2.0
"""What `./dev bench scale` is made of."""
