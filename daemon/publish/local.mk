# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += daemon/publish/libpublish.a
daemon_publish_libpublish_a_SOURCES = \
	daemon/publish/draw.c daemon/publish/draw.h \
	daemon/publish/judge.c daemon/publish/judge.h \
	daemon/publish/judge_losses.c daemon/publish/judge_losses.h \
	daemon/publish/judge_memory.c daemon/publish/judge_memory.h \
	daemon/publish/judge_parent.c daemon/publish/judge_parent.h \
	daemon/publish/probe.c daemon/publish/probe.h \
	daemon/publish/publisher.c daemon/publish/publisher.h \
	daemon/publish/publisher_board.c \
	daemon/publish/publisher_operations.c \
	daemon/publish/publisher_private.h \
	daemon/publish/publisher_publish.c \
	daemon/publish/publisher_verdict.c \
	daemon/publish/serving.c daemon/publish/serving.h \
	daemon/publish/snapshot.c daemon/publish/snapshot.h

PUBLISH_LIBS = daemon/publish/libpublish.a $(INTAKE_LIBS) $(INFER_LIBS)
