# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += daemon/stream/libstream.a
daemon_stream_libstream_a_SOURCES = \
	daemon/stream/broker.c daemon/stream/broker.h \
	daemon/stream/dead_letters.c daemon/stream/dead_letters.h \
	daemon/stream/file_position.c daemon/stream/file_position.h \
	daemon/stream/file_rotation.c daemon/stream/file_rotation.h \
	daemon/stream/json_scan.c daemon/stream/json_scan.h \
	daemon/stream/kafka_conf.c daemon/stream/kafka_conf.h \
	daemon/stream/kafka_group.c daemon/stream/kafka_group.h \
	daemon/stream/kafka_partitions.c daemon/stream/kafka_partitions.h \
	daemon/stream/kafka_position.c daemon/stream/kafka_position.h \
	daemon/stream/queue.c daemon/stream/queue.h \
	daemon/stream/record.c daemon/stream/record.h \
	daemon/stream/record_log.c daemon/stream/record_log.h \
	daemon/stream/record_reason.c daemon/stream/record_reason.h \
	daemon/stream/released_records.c daemon/stream/released_records.h \
	daemon/stream/source.c daemon/stream/source.h \
	daemon/stream/source_base.c \
	daemon/stream/source_file.c \
	daemon/stream/source_http.c \
	daemon/stream/source_kafka.c \
	daemon/stream/source_private.h

STREAM_LIBS = daemon/stream/libstream.a daemon/board/libboard.a \
	$(TOKENIZER_LIBS) $(CONF_LIBS) \
	$(STORE_LIBS) $(RDKAFKA_LIBS)
