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
