# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/replay/test_replay \
	tests/replay/test_replay_db \
	tests/replay/test_sampler \
	tests/replay/test_tiers
tests_replay_test_replay_LDADD = $(TEST_UTIL) $(REPLAY_LIBS) $(CMOCKA_LIBS)
tests_replay_test_replay_db_LDADD = $(TEST_UTIL) $(REPLAY_LIBS) $(CMOCKA_LIBS)
tests_replay_test_sampler_LDADD = $(TEST_UTIL) $(REPLAY_LIBS) $(CMOCKA_LIBS)
tests_replay_test_tiers_LDADD = $(TEST_UTIL) $(REPLAY_LIBS) $(CMOCKA_LIBS)
endif
