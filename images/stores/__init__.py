# SPDX-License-Identifier: Apache-2.0
"""Chunk stores: a local `.castr`, HTTP(S), chains of stores, a cache."""
