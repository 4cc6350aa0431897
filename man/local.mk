# SPDX-License-Identifier: Apache-2.0
dist_man_MANS += man/mneme.1 man/mneme.yaml.5 man/mnemed.8 man/libmneme.3
