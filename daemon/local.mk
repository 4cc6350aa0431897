# SPDX-License-Identifier: Apache-2.0
# The rooms of the daemon, from the lowest up. Each library's variable names it and
# all that it stands on, in link order.
include daemon/board/local.mk
include daemon/stream/local.mk
include daemon/gate/local.mk
include daemon/intake/local.mk
include daemon/publish/local.mk
include daemon/train/local.mk
include daemon/http/local.mk

noinst_LIBRARIES += daemon/libdaemon.a
daemon_libdaemon_a_SOURCES = \
	daemon/daemon.c daemon/daemon.h \
	daemon/notify.c daemon/notify.h \
	daemon/watch.c daemon/watch.h
DAEMON_LIBS = daemon/libdaemon.a $(HTTP_LIBS)

sbin_PROGRAMS += daemon/mnemed
daemon_mnemed_SOURCES = daemon/main.c
daemon_mnemed_LDADD = $(DAEMON_LIBS)
