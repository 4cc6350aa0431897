# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/daemon/test_golden \
	tests/daemon/test_watch
tests_daemon_test_golden_LDADD = $(TEST_UTIL) $(DAEMON_LIBS) $(CMOCKA_LIBS)
tests_daemon_test_watch_LDADD = $(TEST_UTIL) $(DAEMON_LIBS) $(CMOCKA_LIBS)
endif
