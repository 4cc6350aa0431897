# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/conf/test_conf \
	tests/conf/test_conf_doc \
	tests/conf/test_conf_load
tests_conf_test_conf_LDADD = $(TEST_UTIL) $(CONF_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_conf_test_conf_doc_LDADD = $(TEST_UTIL) $(CONF_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_conf_test_conf_load_LDADD = $(TEST_UTIL) $(CONF_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS)
endif
