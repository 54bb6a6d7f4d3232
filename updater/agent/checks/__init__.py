# SPDX-License-Identifier: Apache-2.0
"""What `caflip doctor` looks at, a module for each subject.

A check is a generator of findings. It may raise: whoever calls it turns that into a finding, so
that one broken part does not hide what there is to say of the others.
"""
