# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += daemon/board/libboard.a
daemon_board_libboard_a_SOURCES = \
	daemon/board/control.c daemon/board/control.h \
	daemon/board/event_log.c daemon/board/event_log.h \
	daemon/board/status.c daemon/board/status.h

BOARD_LIBS = daemon/board/libboard.a $(CONF_LIBS) $(BASE_LIBS)
