# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/daemon/publish/test_holdout_sample \
	tests/daemon/publish/test_holdout_scoring \
	tests/daemon/publish/test_probe \
	tests/daemon/publish/test_publisher \
	tests/daemon/publish/test_publisher_board \
	tests/daemon/publish/test_publisher_faults \
	tests/daemon/publish/test_publisher_operations \
	tests/daemon/publish/test_serving \
	tests/daemon/publish/test_verdict \
	tests/daemon/publish/test_verdict_memory
tests_daemon_publish_test_holdout_sample_LDADD = $(TEST_UTIL) $(PUBLISH_LIBS) $(CMOCKA_LIBS)
tests_daemon_publish_test_holdout_scoring_LDADD = $(TEST_UTIL) $(PUBLISH_LIBS) $(CMOCKA_LIBS)
tests_daemon_publish_test_probe_LDADD = $(TEST_UTIL) $(PUBLISH_LIBS) $(CMOCKA_LIBS)
tests_daemon_publish_test_publisher_LDADD = $(TEST_UTIL) $(PUBLISH_LIBS) $(CMOCKA_LIBS)
tests_daemon_publish_test_publisher_board_LDADD = $(TEST_UTIL) $(PUBLISH_LIBS) $(CMOCKA_LIBS)
tests_daemon_publish_test_publisher_faults_LDADD = $(TEST_UTIL) $(PUBLISH_LIBS) $(CMOCKA_LIBS)
tests_daemon_publish_test_publisher_operations_LDADD = $(TEST_UTIL) $(PUBLISH_LIBS) $(CMOCKA_LIBS)
tests_daemon_publish_test_serving_LDADD = $(TEST_UTIL) $(PUBLISH_LIBS) $(CMOCKA_LIBS)
tests_daemon_publish_test_verdict_LDADD = $(TEST_UTIL) $(PUBLISH_LIBS) $(CMOCKA_LIBS)
tests_daemon_publish_test_verdict_memory_LDADD = $(TEST_UTIL) $(PUBLISH_LIBS) $(CMOCKA_LIBS)
endif
