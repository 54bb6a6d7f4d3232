# SPDX-License-Identifier: Apache-2.0
"""Neighbours on the LAN: found, served, and asked for chunks before the origin is."""
