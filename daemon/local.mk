# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += daemon/libdaemon.a
daemon_libdaemon_a_SOURCES = \
	daemon/broker.c daemon/broker.h \
	daemon/fields.c daemon/fields.h \
	daemon/file_place.c daemon/file_place.h \
	daemon/kafka_conf.c daemon/kafka_conf.h \
	daemon/kafka_group.c daemon/kafka_group.h \
	daemon/kafka_inbox.c daemon/kafka_inbox.h \
	daemon/kafka_letters.c daemon/kafka_letters.h \
	daemon/kafka_parts.c daemon/kafka_parts.h \
	daemon/kafka_place.c daemon/kafka_place.h \
	daemon/queue.c daemon/queue.h \
	daemon/record.c daemon/record.h \
	daemon/source.c daemon/source.h daemon/source_create.c \
	daemon/source_impl.h \
	daemon/source_file.c \
	daemon/source_kafka.c \
	daemon/control.c daemon/control.h \
	daemon/daemon.c daemon/daemon.h \
	daemon/dashboard.h \
	daemon/api_completions.c \
	daemon/api_events.c \
	daemon/api_models.c \
	daemon/api_quarantine.c \
	daemon/api_status.c \
	daemon/api_text.c daemon/api_text.h \
	daemon/api_versions.c \
	daemon/completion.c daemon/completion.h \
	daemon/completion_read.c \
	daemon/completion_stream.c \
	daemon/draw.c daemon/draw.h \
	daemon/event_log.c daemon/event_log.h \
	daemon/families.c daemon/families.h \
	daemon/filter.c daemon/filter.h \
	daemon/forget.c daemon/forget.h \
	daemon/gate.c daemon/gate.h \
	daemon/gate_json.c \
	daemon/gate_tails.c \
	daemon/guard.c daemon/guard.h \
	daemon/http.c daemon/http.h daemon/http_impl.h daemon/http_private.h \
	daemon/http_admit.c \
	daemon/http_cancel.c daemon/http_cancel.h \
	daemon/http_head.c daemon/http_head.h \
	daemon/http_connections.c daemon/http_connections.h \
	daemon/http_listen.c \
	daemon/http_mhd.c daemon/http_mhd.h \
	daemon/http_places.c \
	daemon/http_reply.c \
	daemon/http_send.c \
	daemon/http_stream.c daemon/http_stream.h \
	daemon/http_tokens.c \
	daemon/intake.c daemon/intake.h daemon/intake_impl.h \
	daemon/intake_decide.c \
	daemon/judge.c daemon/judge.h \
	daemon/judge_losses.c daemon/judge_losses.h \
	daemon/judge_memory.c daemon/judge_memory.h \
	daemon/judge_parent.c daemon/judge_parent.h \
	daemon/learning.c daemon/learning.h \
	daemon/notify.c daemon/notify.h \
	daemon/options.c daemon/options.h \
	daemon/probe.c daemon/probe.h \
	daemon/pace.c daemon/pace.h \
	daemon/progress.c daemon/progress.h daemon/progress_private.h \
	daemon/progress_json.c \
	daemon/publisher.c daemon/publisher.h daemon/publisher_impl.h \
	daemon/publisher_board.c daemon/publisher_operations.c \
	daemon/publisher_verdict.c \
	daemon/refusals.c daemon/refusals.h \
	daemon/release.c daemon/release.h \
	daemon/restore.c daemon/restore.h \
	daemon/retrain.c daemon/retrain.h \
	daemon/retrain_compare.c daemon/retrain_compare.h \
	daemon/retrain_settings.c \
	daemon/rewind.c daemon/rewind.h \
	daemon/serving.c daemon/serving.h \
	daemon/shadow.c daemon/shadow.h \
	daemon/simhash.c daemon/simhash.h \
	daemon/snapshot.c daemon/snapshot.h \
	daemon/status.c daemon/status.h \
	daemon/surprise.c daemon/surprise.h \
	daemon/texture.c daemon/texture.h \
	daemon/trainer.c daemon/trainer.h daemon/trainer_impl.h \
	daemon/trainer_board.c \
	daemon/trainer_operations.c \
	daemon/vocabulary.c daemon/vocabulary.h

# The dashboard is one page, built in.
nodist_daemon_libdaemon_a_SOURCES = daemon/dashboard_lines.c
EXTRA_DIST += daemon/dashboard.html daemon/dashboard.awk
CLEANFILES += daemon/dashboard_lines.c
daemon/dashboard_lines.c: daemon/dashboard.html daemon/dashboard.awk
	$(AM_V_GEN)$(MKDIR_P) daemon && \
	$(AWK) -v name=dashboard_lines -f $(srcdir)/daemon/dashboard.awk \
	  $(srcdir)/daemon/dashboard.html > $@.tmp && mv $@.tmp $@

# Everything that mnemed links, in link order.
DAEMON_LIBS = daemon/libdaemon.a learner/liblearner.a replay/libreplay.a \
	store/libstore.a $(CONF_LIBS) $(BASE_LIBS) $(RDKAFKA_LIBS) \
	$(SQLITE_LIBS) $(YAML_LIBS) $(MICROHTTPD_LIBS) $(JANSSON_LIBS) \
	$(OPENBLAS_LIBS) -lm

# The sources and what they stand on; of the learner they call the hashing.
SOURCE_LIBS = daemon/libdaemon.a learner/liblearner.a $(CONF_LIBS) \
	$(BASE_LIBS) $(RDKAFKA_LIBS)

if HAVE_CMOCKA
check_PROGRAMS += tests/test_golden
tests_test_golden_SOURCES = tests/test_golden.c \
	tests/store_util.c tests/store_util.h
tests_test_golden_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_golden_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)

# For tests/data/make_store.sh.
EXTRA_PROGRAMS += tests/write_store
tests_write_store_SOURCES = tests/write_store.c \
	tests/store_util.c tests/store_util.h
tests_write_store_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_write_store_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)
CLEANFILES += tests/write_store

check_PROGRAMS += tests/test_queue
tests_test_queue_SOURCES = tests/test_queue.c
tests_test_queue_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_queue_LDADD = $(SOURCE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_record
tests_test_record_SOURCES = tests/test_record.c
tests_test_record_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_record_LDADD = $(SOURCE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_source_file
tests_test_source_file_SOURCES = tests/test_source_file.c
tests_test_source_file_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_source_file_LDADD = $(SOURCE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_gate
tests_test_gate_SOURCES = tests/test_gate.c
tests_test_gate_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_gate_LDADD = $(SOURCE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_shadow
tests_test_shadow_SOURCES = tests/test_shadow.c
tests_test_shadow_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_shadow_LDADD = $(SOURCE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_guard
tests_test_guard_SOURCES = tests/test_guard.c
tests_test_guard_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_guard_LDADD = $(SOURCE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_judge_memory
tests_test_judge_memory_SOURCES = tests/test_judge_memory.c
tests_test_judge_memory_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_judge_memory_LDADD = $(SOURCE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_pace
tests_test_pace_SOURCES = tests/test_pace.c
tests_test_pace_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_pace_LDADD = $(SOURCE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_progress
tests_test_progress_SOURCES = tests/test_progress.c
tests_test_progress_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_progress_LDADD = $(SOURCE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_source_kafka
tests_test_source_kafka_SOURCES = tests/test_source_kafka.c \
	tests/test_source_kafka_util.c tests/test_source_kafka_util.h
tests_test_source_kafka_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
# What the mock broker does not know, the program answers in its place.
tests_test_source_kafka_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=rd_kafka_offsets_for_times
tests_test_source_kafka_LDADD = $(SOURCE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_source_kafka_group
tests_test_source_kafka_group_SOURCES = tests/test_source_kafka_group.c \
	tests/test_source_kafka_util.c tests/test_source_kafka_util.h
tests_test_source_kafka_group_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_source_kafka_group_LDADD = $(SOURCE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_publisher_board
tests_test_publisher_board_SOURCES = tests/test_publisher_board.c \
	tests/store_util.c tests/store_util.h
tests_test_publisher_board_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_publisher_board_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_serving
tests_test_serving_SOURCES = tests/test_serving.c \
	tests/store_util.c tests/store_util.h
tests_test_serving_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_serving_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_probe
tests_test_probe_SOURCES = tests/test_probe.c \
	tests/store_util.c tests/store_util.h
tests_test_probe_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_probe_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_http
tests_test_http_SOURCES = tests/test_http.c \
	tests/http_util.c tests/http_util.h \
	tests/store_util.c tests/store_util.h
tests_test_http_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_http_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_http_head
tests_test_http_head_SOURCES = tests/test_http_head.c
tests_test_http_head_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_http_head_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_http_framing
tests_test_http_framing_SOURCES = tests/test_http_framing.c \
	tests/http_util.c tests/http_util.h \
	tests/store_util.c tests/store_util.h
tests_test_http_framing_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_http_framing_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_api
tests_test_api_SOURCES = tests/test_api.c \
	tests/http_util.c tests/http_util.h \
	tests/store_util.c tests/store_util.h
tests_test_api_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_api_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_mutated
tests_test_mutated_SOURCES = tests/test_mutated.c \
	tests/http_util.c tests/http_util.h \
	tests/store_util.c tests/store_util.h
tests_test_mutated_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_mutated_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_completions
tests_test_completions_SOURCES = tests/test_completions.c \
	tests/http_util.c tests/http_util.h \
	tests/store_util.c tests/store_util.h
tests_test_completions_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_completions_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_http_cancel
tests_test_http_cancel_SOURCES = tests/test_http_cancel.c
tests_test_http_cancel_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_http_cancel_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_event_log
tests_test_event_log_SOURCES = tests/test_event_log.c
tests_test_event_log_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_event_log_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_http_limits
tests_test_http_limits_SOURCES = tests/test_http_limits.c \
	tests/store_util.c tests/store_util.h
tests_test_http_limits_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_http_limits_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_intake
tests_test_intake_SOURCES = tests/test_intake.c
tests_test_intake_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_intake_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_refusals
tests_test_refusals_SOURCES = tests/test_refusals.c
tests_test_refusals_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_refusals_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_filter
tests_test_filter_SOURCES = tests/test_filter.c
tests_test_filter_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_filter_LDADD = $(DAEMON_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_control
tests_test_control_SOURCES = tests/test_control.c
tests_test_control_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_control_LDADD = $(SOURCE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_status
tests_test_status_SOURCES = tests/test_status.c
tests_test_status_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_status_LDADD = $(SOURCE_LIBS) $(CMOCKA_LIBS) -lm
endif

sbin_PROGRAMS += daemon/mnemed
daemon_mnemed_SOURCES = daemon/main.c
daemon_mnemed_LDADD = $(DAEMON_LIBS)

EXTRA_DIST += tests/data/make_store.sh tests/data/store_1.tar.gz \
	tests/data/store_1_pages.tar.gz tests/data/store_2.tar.gz \
	tests/data/store_3.tar.gz
