# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/learner/test_average \
	tests/learner/test_ewc \
	tests/learner/test_forgetting \
	tests/learner/test_head \
	tests/learner/test_learner \
	tests/learner/test_model \
	tests/learner/test_ngram \
	tests/learner/test_optim
tests_learner_test_average_LDADD = $(TEST_UTIL) $(LEARNER_LIBS) $(CMOCKA_LIBS)
tests_learner_test_ewc_LDADD = $(TEST_UTIL) $(LEARNER_LIBS) $(CMOCKA_LIBS)
tests_learner_test_forgetting_LDADD = $(TEST_UTIL) $(LEARNER_LIBS) $(REPLAY_LIBS) $(CMOCKA_LIBS)
tests_learner_test_head_LDADD = $(TEST_UTIL) $(LEARNER_LIBS) $(CMOCKA_LIBS)
tests_learner_test_learner_CPPFLAGS = $(AM_CPPFLAGS) \
	-DTOP_SRCDIR='"$(abs_top_srcdir)"'
tests_learner_test_learner_LDADD = $(TEST_UTIL) $(LEARNER_LIBS) $(CMOCKA_LIBS)
tests_learner_test_model_CPPFLAGS = $(AM_CPPFLAGS) \
	-DTOP_SRCDIR='"$(abs_top_srcdir)"'
tests_learner_test_model_LDADD = $(TEST_UTIL) $(INFER_LIBS) $(CMOCKA_LIBS)
tests_learner_test_ngram_CPPFLAGS = $(AM_CPPFLAGS) \
	-DTOP_SRCDIR='"$(abs_top_srcdir)"'
tests_learner_test_ngram_LDADD = $(TEST_UTIL) $(LEARNER_LIBS) $(CMOCKA_LIBS)
tests_learner_test_optim_LDADD = $(TEST_UTIL) $(LEARNER_LIBS) $(CMOCKA_LIBS)
endif
