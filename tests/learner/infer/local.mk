# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/learner/infer/test_frozen \
	tests/learner/infer/test_infer \
	tests/learner/infer/test_infer_generate \
	tests/learner/infer/test_infer_ngram \
	tests/learner/infer/test_infer_read \
	tests/learner/infer/test_prefix_cache \
	tests/learner/infer/test_shared_pass
tests_learner_infer_test_frozen_CPPFLAGS = $(AM_CPPFLAGS) \
	-DTOP_SRCDIR='"$(abs_top_srcdir)"'
tests_learner_infer_test_frozen_LDADD = $(TEST_UTIL) $(INFER_LIBS) $(CMOCKA_LIBS)
tests_learner_infer_test_infer_LDADD = $(TEST_UTIL) $(INFER_LIBS) $(CMOCKA_LIBS)
tests_learner_infer_test_infer_generate_LDADD = $(TEST_UTIL) $(INFER_LIBS) $(CMOCKA_LIBS)
tests_learner_infer_test_infer_ngram_LDADD = $(TEST_UTIL) $(INFER_LIBS) $(CMOCKA_LIBS)
tests_learner_infer_test_infer_read_LDADD = $(TEST_UTIL) $(INFER_LIBS) $(CMOCKA_LIBS)
tests_learner_infer_test_prefix_cache_LDADD = $(TEST_UTIL) $(INFER_LIBS) $(CMOCKA_LIBS)
tests_learner_infer_test_shared_pass_LDADD = $(TEST_UTIL) $(INFER_LIBS) $(CMOCKA_LIBS)
endif
