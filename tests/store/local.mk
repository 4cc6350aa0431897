# SPDX-License-Identifier: Apache-2.0
if HAVE_CMOCKA
check_PROGRAMS += \
	tests/store/test_catalog \
	tests/store/test_crash \
	tests/store/test_current \
	tests/store/test_damage \
	tests/store/test_faults \
	tests/store/test_hf \
	tests/store/test_releases \
	tests/store/test_retention \
	tests/store/test_safetensors \
	tests/store/test_store \
	tests/store/test_store_change \
	tests/store/test_store_faults \
	tests/store/test_tags \
	tests/store/test_tombstones
tests_store_test_catalog_LDADD = $(TEST_UTIL) $(STORE_LIBS) $(CMOCKA_LIBS)
tests_store_test_crash_LDADD = $(TEST_UTIL) $(STORE_LIBS) $(CMOCKA_LIBS)
tests_store_test_current_LDADD = $(TEST_UTIL) $(STORE_LIBS) $(CMOCKA_LIBS)
tests_store_test_damage_LDADD = $(TEST_UTIL) $(STORE_LIBS) $(CMOCKA_LIBS)
tests_store_test_faults_LDADD = $(TEST_UTIL) $(STORE_LIBS) $(CMOCKA_LIBS)
tests_store_test_hf_LDADD = $(TEST_UTIL) $(STORE_LIBS) $(CMOCKA_LIBS)
tests_store_test_releases_LDADD = $(TEST_UTIL) $(STORE_LIBS) $(CMOCKA_LIBS)
tests_store_test_retention_LDADD = $(TEST_UTIL) $(STORE_LIBS) $(CMOCKA_LIBS)
tests_store_test_safetensors_LDADD = $(TEST_UTIL) $(STORE_LIBS) $(CMOCKA_LIBS)
tests_store_test_store_LDADD = $(TEST_UTIL) $(STORE_LIBS) $(CMOCKA_LIBS)
tests_store_test_store_change_LDADD = $(TEST_UTIL) $(STORE_LIBS) $(CMOCKA_LIBS)
tests_store_test_store_faults_LDADD = $(TEST_UTIL) $(STORE_LIBS) $(CMOCKA_LIBS)
tests_store_test_tags_LDADD = $(TEST_UTIL) $(STORE_LIBS) $(CMOCKA_LIBS)
tests_store_test_tombstones_LDADD = $(TEST_UTIL) $(STORE_LIBS) $(CMOCKA_LIBS)
endif
