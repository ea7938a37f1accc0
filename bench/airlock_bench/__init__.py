# SPDX-License-Identifier: Apache-2.0
"""What `./dev bench peers` is made of."""
