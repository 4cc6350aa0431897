# SPDX-License-Identifier: Apache-2.0
#
# The unit tests of a room are in the folder of the same name. Each links its own
# room and the rooms below it, so that the linker checks the dependencies.
if HAVE_CMOCKA
check_LIBRARIES = tests/util/libtestutil.a
tests_util_libtestutil_a_SOURCES = \
	tests/util/base_util.c tests/util/base_util.h \
	tests/util/conf_util.c tests/util/conf_util.h \
	tests/util/fault_vfs.c tests/util/fault_vfs.h \
	tests/util/http_util.c tests/util/http_util.h \
	tests/util/infer_util.c tests/util/infer_util.h \
	tests/util/near_util.c tests/util/near_util.h \
	tests/util/publish_util.c tests/util/publish_util.h \
	tests/util/rewind_util.c tests/util/rewind_util.h \
	tests/util/store_util.c tests/util/store_util.h \
	tests/util/train_util.c tests/util/train_util.h \
	tests/util/trainer_util.c tests/util/trainer_util.h
endif
TEST_UTIL = tests/util/libtestutil.a

include tests/base/local.mk
include tests/conf/local.mk
include tests/store/local.mk
include tests/replay/local.mk
include tests/learner/local.mk
include tests/learner/kernels/local.mk
include tests/learner/tokenizer/local.mk
include tests/learner/infer/local.mk
include tests/interchange/local.mk
include tests/daemon/board/local.mk
include tests/daemon/stream/local.mk
include tests/daemon/gate/local.mk
include tests/daemon/intake/local.mk
include tests/daemon/publish/local.mk
include tests/daemon/train/local.mk
include tests/daemon/http/local.mk
include tests/daemon/local.mk
include tests/eval/local.mk
include tests/bench/local.mk
include tests/libmneme/local.mk
include tests/fuzz/local.mk

# The flow tests run the whole daemon: `make check-flow`. FLOW_JOBS of them run
# at a time. Those that need Apache Kafka have `kafka` in their name: CI insists
# on running them.
FLOW_JOBS = 2
FLOW_TESTS = \
	tests/flows/flow_file.py \
	tests/flows/flow_bad_input.py \
	tests/flows/flow_hostile.py \
	tests/flows/flow_service.py \
	tests/flows/flow_metrics.py \
	tests/flows/flow_doctor.py \
	tests/flows/flow_completion.py \
	tests/flows/flow_cli.py \
	tests/flows/flow_eval.py \
	tests/flows/flow_unwanted.py \
	tests/flows/flow_rollback.py \
	tests/flows/flow_publish.py \
	tests/flows/flow_bad_feed.py \
	tests/flows/flow_guard.py \
	tests/flows/flow_retrain.py \
	tests/flows/flow_backup.py \
	tests/flows/flow_export.py \
	tests/flows/flow_kills.py \
	tests/flows/flow_faults.py \
	tests/flows/flow_flips.py \
	tests/flows/flow_store.py \
	tests/flows/flow_tamper.py \
	tests/flows/flow_tls.py \
	tests/flows/flow_admin.py \
	tests/flows/flow_filters.py \
	tests/flows/flow_drift.py \
	tests/flows/flow_quarantine.py \
	tests/flows/flow_page.py \
	tests/flows/flow_manage.py \
	tests/flows/flow_records.py \
	tests/flows/flow_memory.py \
	tests/flows/flow_openai.py \
	tests/flows/flow_streams.py \
	tests/flows/flow_openapi.py \
	tests/flows/flow_libmneme.py \
	tests/flows/flow_import.py \
	tests/flows/flow_installed.sh \
	tests/flows/flow_dist.sh \
	tests/flows/flow_kafka.py \
	tests/flows/flow_kafka_field.py

# What takes hours when it is to mean something: `make soak`. Each bad feed goes
# on for MNEME_SOAK_MINUTES (2), and a learning rate that stays wrong goes to the
# limit of rollbacks. Every operation on a file or on memory fails in turn, and
# thousands of states after a crash are built (SOAK); then 1,000 kills (SOAK_KILLS)
# and 1,000 flipped bits (SOAK_FLIPS), each for at most SOAK_SECONDS; 1,000
# changes of the serving version under streams (SOAK_SWITCHES). Kafka: a queue
# that stays full for longer.
SOAK_TESTS = tests/flows/flow_bad_feed.py tests/store/test_faults tests/store/test_crash \
	tests/flows/flow_kills.py tests/flows/flow_faults.py tests/flows/flow_flips.py \
	tests/flows/flow_tamper.py tests/flows/flow_streams.py \
	tests/flows/flow_kafka_field.py

# What they ask of a broker and no client at hand does.
EXTRA_PROGRAMS += tests/tools/kafka_client
tests_tools_kafka_client_SOURCES = tests/tools/kafka_client.c
tests_tools_kafka_client_LDADD = $(RDKAFKA_LIBS)
CLEANFILES += tests/tools/kafka_client

# Files that fail under a daemon: flow_faults.py.
EXTRA_PROGRAMS += tests/tools/fault_preload.so
tests_tools_fault_preload_so_SOURCES = tests/tools/fault_preload.c
tests_tools_fault_preload_so_CFLAGS = $(AM_CFLAGS) -fPIC
tests_tools_fault_preload_so_LDFLAGS = -shared
CLEANFILES += tests/tools/fault_preload.so

# For programs built with --enable-tsan: what they need beside themselves.
EXTRA_PROGRAMS += tests/tools/tsan_preload.so
tests_tools_tsan_preload_so_SOURCES = tests/tools/tsan_preload.c
tests_tools_tsan_preload_so_CFLAGS = -std=gnu11 $(WARN_CFLAGS) -fPIC
tests_tools_tsan_preload_so_LDFLAGS = -shared
CLEANFILES += tests/tools/tsan_preload.so
EXTRA_DIST += tests/tools/tsan.supp
# Changes a store and makes its checksums right again: flow_tamper.py.
EXTRA_PROGRAMS += tests/tools/tamper
tests_tools_tamper_SOURCES = tests/tools/tamper.c
tests_tools_tamper_LDADD = $(STORE_LIBS)
CLEANFILES += tests/tools/tamper

# What flow tests need that `all` does not make.
FLOW_TOOLS = tests/tools/kafka_client$(EXEEXT) tests/tools/fault_preload.so$(EXEEXT) \
	tests/tools/tamper$(EXEEXT)

# Versions for other programs to read: compat_hf.py, compat_gguf.py.
EXTRA_PROGRAMS += tests/tools/write_hf
tests_tools_write_hf_SOURCES = tests/tools/write_hf.c
tests_tools_write_hf_LDADD = $(TOKENIZER_LIBS) $(STORE_LIBS)
CLEANFILES += tests/tools/write_hf

# For tests/data/make_store.sh.
if HAVE_CMOCKA
EXTRA_PROGRAMS += tests/tools/encode_texts
tests_tools_encode_texts_SOURCES = tests/tools/encode_texts.c
tests_tools_encode_texts_LDADD = $(TOKENIZER_LIBS)
CLEANFILES += tests/tools/encode_texts

EXTRA_PROGRAMS += tests/tools/write_store
tests_tools_write_store_SOURCES = tests/tools/write_store.c
tests_tools_write_store_LDADD = $(TEST_UTIL) $(DAEMON_LIBS) $(CMOCKA_LIBS)
CLEANFILES += tests/tools/write_store
endif

EXTRA_DIST += \
	.ci/run \
	tests/tools/compat_hf.py tests/tools/compat_tokenizer.py \
	tests/tools/compat_greedy.py tests/tools/compat_gguf.py \
	tests/tools/plain_model.py \
	tests/tools/compat_openai.py tests/tools/compat_openai.js \
	tests/learner/tokenizer/nfc_digest.py \
	tests/data/make_store.sh tests/data/store_1.tar.gz \
	tests/data/store_1_pages.tar.gz tests/data/store_2.tar.gz \
	tests/data/store_3.tar.gz \
	tests/data/saved_again/README tests/data/saved_again/config.json \
	tests/data/saved_again/model.safetensors \
	tests/data/saved_again/tokenizer.json \
	tests/data/saved_again/tokenizer_config.json \
	tests/data/models \
	tests/data/tokenizers/gpt2.json tests/data/tokenizers/gpt2.ids.json \
	tests/data/tokenizers/llama2.json tests/data/tokenizers/llama2.ids.json \
	tests/data/tokenizers/mistral.json tests/data/tokenizers/mistral.ids.json \
	tests/data/tokenizers/llama3.json tests/data/tokenizers/llama3.ids.json \
	tests/data/tokenizers/qwen2.json tests/data/tokenizers/qwen2.ids.json \
	tests/data/tokenizers/scattered.json tests/data/tokenizers/scattered.ids.json \
	tests/data/tokenizers/smollm.json tests/data/tokenizers/smollm.ids.json \
	tests/data/model_reference.py tests/data/model_reference.txt \
	tests/kafka/kafka.sh tests/kafka/pom.xml \
	tests/package.sh \
	tests/flows/run_flow.sh tests/summary.sh tests/flows/flow_util.py tests/flows/feed_util.py \
	tests/flows/digest.py tests/flows/page_requirements.txt \
	bench/clean_stream.py bench/bad_feeds.py \
	$(FLOW_TESTS)

TEST_EXTENSIONS = .py .sh
PY_LOG_DRIVER = $(LOG_DRIVER)
PY_LOG_COMPILER = $(SHELL) $(top_srcdir)/tests/flows/run_flow.sh
SH_LOG_DRIVER = $(LOG_DRIVER)
SH_LOG_COMPILER = $(SHELL) $(top_srcdir)/tests/flows/run_flow.sh

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
	  SOAK_SWITCHES=$${SOAK_SWITCHES:-1000} \
	  MNEME_FLOW_SECONDS=$${MNEME_FLOW_SECONDS:-86400} \
	  $(MAKE) $(AM_MAKEFLAGS) -j1 check-TESTS TESTS='$(SOAK_TESTS)' \
	    TEST_SUITE_LOG=soak-suite.log
.PHONY: check-flow soak
