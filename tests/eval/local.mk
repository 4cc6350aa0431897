# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/eval/test_eval \
	tests/eval/test_eval_texts \
	tests/eval/test_eval_versions \
	tests/eval/test_measures
tests_eval_test_eval_LDADD = $(TEST_UTIL) $(EVAL_LIBS) $(CMOCKA_LIBS)
tests_eval_test_eval_texts_LDADD = $(TEST_UTIL) $(EVAL_LIBS) $(CMOCKA_LIBS)
tests_eval_test_eval_versions_LDADD = $(TEST_UTIL) $(EVAL_LIBS) $(CMOCKA_LIBS)
tests_eval_test_measures_LDADD = $(EVAL_LIBS) $(CMOCKA_LIBS)
endif
