# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += daemon/publish/libpublish.a
daemon_publish_libpublish_a_SOURCES = \
	daemon/publish/holdout_sample.c daemon/publish/holdout_sample.h \
	daemon/publish/holdout_scoring.c daemon/publish/holdout_scoring.h \
	daemon/publish/probe.c daemon/publish/probe.h \
	daemon/publish/publisher.c daemon/publish/publisher.h \
	daemon/publish/publisher_board.c \
	daemon/publish/publisher_operations.c \
	daemon/publish/publisher_private.h \
	daemon/publish/publisher_publish.c \
	daemon/publish/publisher_verdict.c \
	daemon/publish/serving.c daemon/publish/serving.h \
	daemon/publish/snapshot.c daemon/publish/snapshot.h \
	daemon/publish/verdict.c daemon/publish/verdict.h \
	daemon/publish/verdict_memory.c daemon/publish/verdict_memory.h

PUBLISH_LIBS = daemon/publish/libpublish.a $(INTAKE_LIBS) $(INFER_LIBS)
