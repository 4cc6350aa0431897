# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/learner/tokenizer/test_cut \
	tests/learner/tokenizer/test_nfc \
	tests/learner/tokenizer/test_published \
	tests/learner/tokenizer/test_tokenizer
tests_learner_tokenizer_test_cut_LDADD = $(TEST_UTIL) $(TOKENIZER_LIBS) $(CMOCKA_LIBS)
tests_learner_tokenizer_test_tokenizer_LDADD = $(TEST_UTIL) $(TOKENIZER_LIBS) $(CMOCKA_LIBS)
tests_learner_tokenizer_test_nfc_LDADD = $(TEST_UTIL) $(TOKENIZER_LIBS) $(CMOCKA_LIBS)
tests_learner_tokenizer_test_published_LDADD = $(TEST_UTIL) $(TOKENIZER_LIBS) $(CMOCKA_LIBS)
endif
