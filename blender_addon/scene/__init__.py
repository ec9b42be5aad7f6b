# SPDX-License-Identifier: GPL-3.0-or-later
"""The only part of Mien that writes data-blocks."""
