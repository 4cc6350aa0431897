# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += replay/libreplay.a
replay_libreplay_a_SOURCES = \
	replay/replay.c replay/replay.h replay/replay_private.h \
	replay/replay_sample.c \
	replay/replay_db.c replay/replay_db.h \
	replay/row.c replay/row.h \
	replay/sampler.c replay/sampler.h \
	replay/tiers.c replay/tiers.h replay/tiers_private.h \
	replay/tiers_state.c

REPLAY_LIBS = replay/libreplay.a $(BASE_LIBS) $(SQLITE_LIBS)

if HAVE_CMOCKA
check_PROGRAMS += tests/test_sampler tests/test_tiers tests/test_replay_db \
	tests/test_replay
tests_test_sampler_SOURCES = tests/test_sampler.c
tests_test_sampler_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_sampler_LDADD = $(REPLAY_LIBS) $(CMOCKA_LIBS)
tests_test_tiers_SOURCES = tests/test_tiers.c
tests_test_tiers_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_tiers_LDADD = $(REPLAY_LIBS) $(CMOCKA_LIBS)
tests_test_replay_db_SOURCES = tests/test_replay_db.c
tests_test_replay_db_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_replay_db_LDADD = $(REPLAY_LIBS) $(CMOCKA_LIBS)
tests_test_replay_SOURCES = tests/test_replay.c
tests_test_replay_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_replay_LDADD = $(REPLAY_LIBS) $(CMOCKA_LIBS)
endif
