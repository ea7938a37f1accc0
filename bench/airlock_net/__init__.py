# SPDX-License-Identifier: Apache-2.0
"""What ./dev bench net is made of."""
