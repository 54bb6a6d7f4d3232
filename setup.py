# SPDX-License-Identifier: Apache-2.0
"""The one C extension: leaf kernels over buffers and numbers, limited API, any Python from 3.11."""

from pathlib import Path

from setuptools import Extension, setup

SOURCES = sorted(str(p) for p in Path("images/_native").glob("*.c"))
HEADERS = sorted(str(p) for p in Path("images/_native").glob("*.h"))

setup(
    ext_modules=[
        Extension(
            "images._native._kernels",
            sources=SOURCES,
            depends=HEADERS,
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            py_limited_api=True,
            extra_compile_args=[
                "-std=c11",
                "-O3",
                "-Wall",
                "-Wextra",
                "-Werror=implicit-function-declaration",
                "-Werror=incompatible-pointer-types",
            ],
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
