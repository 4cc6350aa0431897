# SPDX-License-Identifier: Apache-2.0
#
# Unit tests stand in the local.mk of the directory that they test. Here are
# the flow tests, which run the whole daemon: `make check-flow`. They come one
# at a time, since some of them measure. Those that need Apache Kafka have
# `kafka` in their name: CI insists on running them.
FLOW_TESTS = \
	tests/flow_file.py \
	tests/flow_bad_input.py \
	tests/flow_cli.py \
	tests/flow_rollback.py \
	tests/flow_retrain.py \
	tests/flow_quarantine.py \
	tests/flow_kafka.py

EXTRA_DIST += \
	.ci/run \
	tests/kafka/kafka.sh tests/kafka/pom.xml \
	tests/run_flow.sh tests/summary.sh tests/flow_util.py \
	$(FLOW_TESTS)

TEST_EXTENSIONS = .py .sh
PY_LOG_DRIVER = $(LOG_DRIVER)
PY_LOG_COMPILER = $(SHELL) $(top_srcdir)/tests/run_flow.sh
SH_LOG_DRIVER = $(LOG_DRIVER)
SH_LOG_COMPILER = $(SHELL) $(top_srcdir)/tests/run_flow.sh

check-flow: all
	@if test -n '$(FLOW_TESTS)'; then \
	  $(MAKE) $(AM_MAKEFLAGS) -j1 check-TESTS TESTS='$(FLOW_TESTS)' \
	    TEST_SUITE_LOG=flow-suite.log; \
	fi
.PHONY: check-flow
