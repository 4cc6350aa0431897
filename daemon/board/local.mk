# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += daemon/board/libboard.a
daemon_board_libboard_a_SOURCES = \
	daemon/board/control.c daemon/board/control.h \
	daemon/board/event_log.c daemon/board/event_log.h \
	daemon/board/histogram.c daemon/board/histogram.h \
	daemon/board/metrics.c daemon/board/metrics.h \
	daemon/board/process_figures.c daemon/board/process_figures.h \
	daemon/board/pulse.c daemon/board/pulse.h \
	daemon/board/series.c daemon/board/series.h \
	daemon/board/source_state.h \
	daemon/board/status.c daemon/board/status.h \
	daemon/board/status_figures.c \
	daemon/board/status_sentence.c

BOARD_LIBS = daemon/board/libboard.a $(CONF_LIBS) $(BASE_LIBS)
