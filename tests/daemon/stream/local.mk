# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/daemon/stream/test_queue \
	tests/daemon/stream/test_record \
	tests/daemon/stream/test_source_file \
	tests/daemon/stream/test_source_file_follow \
	tests/daemon/stream/test_source_file_seek \
	tests/daemon/stream/test_source_http \
	tests/daemon/stream/test_source_kafka \
	tests/daemon/stream/test_source_kafka_group
tests_daemon_stream_test_queue_LDADD = $(TEST_UTIL) $(STREAM_LIBS) $(CMOCKA_LIBS)
tests_daemon_stream_test_record_LDADD = $(TEST_UTIL) $(STREAM_LIBS) $(CMOCKA_LIBS)
tests_daemon_stream_test_source_file_SOURCES = tests/daemon/stream/test_source_file.c \
	tests/daemon/stream/test_source_file_util.c tests/daemon/stream/test_source_file_util.h
tests_daemon_stream_test_source_file_LDADD = $(TEST_UTIL) $(STREAM_LIBS) $(CMOCKA_LIBS)
tests_daemon_stream_test_source_file_follow_SOURCES = tests/daemon/stream/test_source_file_follow.c \
	tests/daemon/stream/test_source_file_util.c tests/daemon/stream/test_source_file_util.h
tests_daemon_stream_test_source_file_follow_LDADD = $(TEST_UTIL) $(STREAM_LIBS) $(CMOCKA_LIBS)
tests_daemon_stream_test_source_file_seek_SOURCES = tests/daemon/stream/test_source_file_seek.c \
	tests/daemon/stream/test_source_file_util.c tests/daemon/stream/test_source_file_util.h
tests_daemon_stream_test_source_file_seek_LDADD = $(TEST_UTIL) $(STREAM_LIBS) $(CMOCKA_LIBS)
tests_daemon_stream_test_source_http_LDADD = $(TEST_UTIL) $(STREAM_LIBS) $(CMOCKA_LIBS)
tests_daemon_stream_test_source_kafka_SOURCES = tests/daemon/stream/test_source_kafka.c \
	tests/daemon/stream/test_source_kafka_util.c tests/daemon/stream/test_source_kafka_util.h
# What the mock broker does not know, the program answers in its place.
tests_daemon_stream_test_source_kafka_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=rd_kafka_offsets_for_times
tests_daemon_stream_test_source_kafka_LDADD = $(TEST_UTIL) $(STREAM_LIBS) $(CMOCKA_LIBS)
tests_daemon_stream_test_source_kafka_group_SOURCES = tests/daemon/stream/test_source_kafka_group.c \
	tests/daemon/stream/test_source_kafka_util.c tests/daemon/stream/test_source_kafka_util.h
tests_daemon_stream_test_source_kafka_group_LDADD = $(TEST_UTIL) $(STREAM_LIBS) $(CMOCKA_LIBS)
endif
