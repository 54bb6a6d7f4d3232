# SPDX-License-Identifier: Apache-2.0
"""The C kernels: functions of buffers and numbers, never of an untrusted format."""
