# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += daemon/stream/libstream.a
daemon_stream_libstream_a_SOURCES = \
	daemon/stream/broker.c daemon/stream/broker.h \
	daemon/stream/fields.c daemon/stream/fields.h \
	daemon/stream/file_place.c daemon/stream/file_place.h \
	daemon/stream/kafka_conf.c daemon/stream/kafka_conf.h \
	daemon/stream/kafka_group.c daemon/stream/kafka_group.h \
	daemon/stream/kafka_inbox.c daemon/stream/kafka_inbox.h \
	daemon/stream/kafka_letters.c daemon/stream/kafka_letters.h \
	daemon/stream/kafka_parts.c daemon/stream/kafka_parts.h \
	daemon/stream/kafka_place.c daemon/stream/kafka_place.h \
	daemon/stream/queue.c daemon/stream/queue.h \
	daemon/stream/record.c daemon/stream/record.h \
	daemon/stream/release.c daemon/stream/release.h \
	daemon/stream/source.c daemon/stream/source.h \
	daemon/stream/source_create.c \
	daemon/stream/source_file.c \
	daemon/stream/source_impl.h \
	daemon/stream/source_kafka.c

STREAM_LIBS = daemon/stream/libstream.a $(TOKENIZER_LIBS) $(CONF_LIBS) \
	$(STORE_LIBS) $(RDKAFKA_LIBS)
