# SPDX-License-Identifier: Apache-2.0
"""The command line, and the place of the agent: releases, slots, schedule, health, peers."""

__version__ = "0.1.0"
