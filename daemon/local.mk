# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += daemon/libdaemon.a
daemon_libdaemon_a_SOURCES = \
	daemon/queue.c daemon/queue.h

# Everything that mnemed links, in link order.
DAEMON_LIBS = daemon/libdaemon.a learner/liblearner.a replay/libreplay.a \
	store/libstore.a $(CONF_LIBS) $(BASE_LIBS) $(RDKAFKA_LIBS) \
	$(SQLITE_LIBS) $(YAML_LIBS) $(MICROHTTPD_LIBS) $(JANSSON_LIBS) \
	$(CRYPTO_LIBS) $(XXHASH_LIBS) $(ZSTD_LIBS) $(ZLIB_LIBS) \
	$(OPENBLAS_LIBS) -lm

# The sources and what they stand on, without the layers that they never call.
SOURCE_LIBS = daemon/libdaemon.a $(CONF_LIBS) $(BASE_LIBS) $(RDKAFKA_LIBS) \
	$(JANSSON_LIBS) $(XXHASH_LIBS) $(ZSTD_LIBS) $(ZLIB_LIBS)
