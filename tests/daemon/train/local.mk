# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/daemon/train/test_forget \
	tests/daemon/train/test_pace \
	tests/daemon/train/test_restore \
	tests/daemon/train/test_retrain \
	tests/daemon/train/test_rewind \
	tests/daemon/train/test_trainer \
	tests/daemon/train/test_trainer_metrics \
	tests/daemon/train/test_trainer_rollback
tests_daemon_train_test_forget_LDADD = $(TEST_UTIL) $(TRAIN_LIBS) $(CMOCKA_LIBS)
tests_daemon_train_test_pace_LDADD = $(TEST_UTIL) $(TRAIN_LIBS) $(CMOCKA_LIBS)
tests_daemon_train_test_restore_LDADD = $(TEST_UTIL) $(TRAIN_LIBS) $(CMOCKA_LIBS)
tests_daemon_train_test_retrain_LDADD = $(TEST_UTIL) $(TRAIN_LIBS) $(CMOCKA_LIBS)
tests_daemon_train_test_rewind_LDADD = $(TEST_UTIL) $(TRAIN_LIBS) $(CMOCKA_LIBS)
tests_daemon_train_test_trainer_LDADD = $(TEST_UTIL) $(TRAIN_LIBS) $(CMOCKA_LIBS)
tests_daemon_train_test_trainer_metrics_LDADD = $(TEST_UTIL) $(TRAIN_LIBS) $(CMOCKA_LIBS)
tests_daemon_train_test_trainer_rollback_LDADD = $(TEST_UTIL) $(TRAIN_LIBS) $(CMOCKA_LIBS)
endif
