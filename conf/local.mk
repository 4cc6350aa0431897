# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += conf/libconf.a
conf_libconf_a_SOURCES = \
	conf/conf.c conf/conf.h \
	conf/conf_check.c conf/conf_check.h \
	conf/conf_doc.c conf/conf_doc.h \
	conf/conf_load.c conf/conf_load.h \
	conf/conf_map.c conf/conf_map.h \
	conf/conf_near.c conf/conf_near.h \
	conf/conf_problems.c conf/conf_problems.h \
	conf/conf_quote.c conf/conf_quote.h \
	conf/conf_value.c conf/conf_value.h \
	conf/conf_yaml.c conf/conf_yaml.h

CONF_LIBS = conf/libconf.a $(YAML_LIBS)
dist_pkgdata_DATA += conf/mneme.yaml

if HAVE_CMOCKA
check_PROGRAMS += tests/test_conf
tests_test_conf_SOURCES = tests/test_conf.c \
	tests/conf_util.c tests/conf_util.h
tests_test_conf_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_conf_LDADD = $(CONF_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_conf_doc
tests_test_conf_doc_SOURCES = tests/test_conf_doc.c \
	tests/conf_util.c tests/conf_util.h
tests_test_conf_doc_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_conf_doc_LDADD = $(CONF_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_conf_load
tests_test_conf_load_SOURCES = tests/test_conf_load.c \
	tests/conf_util.c tests/conf_util.h
tests_test_conf_load_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_conf_load_LDADD = $(CONF_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS)
endif
