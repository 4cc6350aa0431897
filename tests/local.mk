# SPDX-License-Identifier: Apache-2.0
#
# Unit tests stand in the local.mk of the directory that they test. Here are
# the flow tests, which run the whole daemon: `make check-flow`. FLOW_JOBS of
# them run at a time: none depends on how fast the machine is. Those that need Apache Kafka have
# `kafka` in their name: CI insists on running them.
FLOW_JOBS = 2
FLOW_TESTS = \
	tests/flow_file.py \
	tests/flow_bad_input.py \
	tests/flow_hostile.py \
	tests/flow_cli.py \
	tests/flow_unwanted.py \
	tests/flow_rollback.py \
	tests/flow_publish.py \
	tests/flow_bad_feed.py \
	tests/flow_guard.py \
	tests/flow_retrain.py \
	tests/flow_backup.py \
	tests/flow_kills.py \
	tests/flow_faults.py \
	tests/flow_flips.py \
	tests/flow_store.py \
	tests/flow_tamper.py \
	tests/flow_filters.py \
	tests/flow_quarantine.py \
	tests/flow_memory.py \
	tests/flow_installed.sh \
	tests/flow_dist.sh \
	tests/flow_kafka.py \
	tests/flow_kafka_field.py

# What takes hours when it is to mean something: `make soak`. Each bad feed goes
# on for MNEME_SOAK_MINUTES (2), and a learning rate that stays wrong goes to the
# limit of rollbacks. Every operation on a file or on memory fails in turn, and
# thousands of states after a crash are built (SOAK); then 1,000 kills (SOAK_KILLS)
# and 1,000 flipped bits (SOAK_FLIPS), each for at most SOAK_SECONDS. Kafka: a
# queue that stays full for longer.
SOAK_TESTS = tests/flow_bad_feed.py tests/test_faults tests/test_crash \
	tests/flow_kills.py tests/flow_faults.py tests/flow_flips.py \
	tests/flow_tamper.py tests/flow_kafka_field.py

# What they ask of a broker and no client at hand does.
EXTRA_PROGRAMS += tests/kafka_client
tests_kafka_client_SOURCES = tests/kafka_client.c
tests_kafka_client_LDADD = $(RDKAFKA_LIBS)
CLEANFILES += tests/kafka_client

# Files that fail under a daemon: flow_faults.py.
EXTRA_PROGRAMS += tests/fault_preload.so
tests_fault_preload_so_SOURCES = tests/fault_preload.c
tests_fault_preload_so_CFLAGS = $(AM_CFLAGS) -fPIC
tests_fault_preload_so_LDFLAGS = -shared
CLEANFILES += tests/fault_preload.so

# For programs built with --enable-tsan: what they need beside themselves.
EXTRA_PROGRAMS += tests/tsan_preload.so
tests_tsan_preload_so_SOURCES = tests/tsan_preload.c
tests_tsan_preload_so_CFLAGS = -std=gnu11 $(WARN_CFLAGS) -fPIC
tests_tsan_preload_so_LDFLAGS = -shared
CLEANFILES += tests/tsan_preload.so
EXTRA_DIST += tests/tsan.supp
# Changes a store and makes its checksums right again: flow_tamper.py.
EXTRA_PROGRAMS += tests/tamper
tests_tamper_SOURCES = tests/tamper.c
tests_tamper_LDADD = $(STORE_LIBS)
CLEANFILES += tests/tamper

# What flow tests need that `all` does not make.
FLOW_TOOLS = tests/kafka_client$(EXEEXT) tests/fault_preload.so$(EXEEXT) \
	tests/tamper$(EXEEXT)

EXTRA_DIST += \
	.ci/run \
	tests/kafka/kafka.sh tests/kafka/pom.xml \
	tests/run_flow.sh tests/summary.sh tests/flow_util.py tests/feed_util.py \
	tests/digest.py \
	bench/clean_stream.py bench/bad_feeds.py \
	$(FLOW_TESTS)

TEST_EXTENSIONS = .py .sh
PY_LOG_DRIVER = $(LOG_DRIVER)
PY_LOG_COMPILER = $(SHELL) $(top_srcdir)/tests/run_flow.sh
SH_LOG_DRIVER = $(LOG_DRIVER)
SH_LOG_COMPILER = $(SHELL) $(top_srcdir)/tests/run_flow.sh

check-flow: all $(FLOW_TOOLS)
	@if test -n '$(FLOW_TESTS)'; then \
	  $(MAKE) $(AM_MAKEFLAGS) -j$(FLOW_JOBS) check-TESTS \
	    TESTS='$(FLOW_TESTS)' \
	    TEST_SUITE_LOG=flow-suite.log; \
	fi

soak: all $(FLOW_TOOLS)
	@MNEME_SOAK_MINUTES=$${MNEME_SOAK_MINUTES:-2} \
	  SOAK=1 SOAK_KILLS=$${SOAK_KILLS:-1000} \
	  SOAK_FLIPS=$${SOAK_FLIPS:-1000} \
	  MNEME_FLOW_SECONDS=$${MNEME_FLOW_SECONDS:-86400} \
	  $(MAKE) $(AM_MAKEFLAGS) -j1 check-TESTS TESTS='$(SOAK_TESTS)' \
	    TEST_SUITE_LOG=soak-suite.log
.PHONY: check-flow soak
