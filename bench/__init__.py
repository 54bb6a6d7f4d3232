# SPDX-License-Identifier: Apache-2.0
"""Measures caflip beside casync and desync on real images; see docs/benchmarks.md."""
