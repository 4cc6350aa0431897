# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/daemon/board/test_control \
	tests/daemon/board/test_event_log \
	tests/daemon/board/test_series \
	tests/daemon/board/test_status \
	tests/daemon/board/test_status_limits
tests_daemon_board_test_control_LDADD = $(TEST_UTIL) $(BOARD_LIBS) $(CMOCKA_LIBS)
tests_daemon_board_test_event_log_LDADD = $(TEST_UTIL) $(BOARD_LIBS) $(CMOCKA_LIBS)
tests_daemon_board_test_series_LDADD = $(TEST_UTIL) $(BOARD_LIBS) $(CMOCKA_LIBS)
tests_daemon_board_test_status_LDADD = $(TEST_UTIL) $(BOARD_LIBS) $(CMOCKA_LIBS)
tests_daemon_board_test_status_limits_LDADD = $(TEST_UTIL) $(BOARD_LIBS) $(CMOCKA_LIBS)
endif
