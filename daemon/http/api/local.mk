# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += daemon/http/api/libapi.a
daemon_http_api_libapi_a_SOURCES = \
	daemon/http/api/api_completions.c \
	daemon/http/api/api_events.c daemon/http/api/api_events.h \
	daemon/http/api/api_files.c \
	daemon/http/api/api_openapi.c \
	daemon/http/api/api_operations.c daemon/http/api/api_operations.h \
	daemon/http/api/api_page.c \
	daemon/http/api/api_quarantine.c \
	daemon/http/api/api_records.c \
	daemon/http/api/api_responses.c \
	daemon/http/api/api_status.c \
	daemon/http/api/api_text.c \
	daemon/http/api/api_tokenizer.c \
	daemon/http/api/api_versions.c \
	daemon/http/api/http_endpoints.c daemon/http/api/http_endpoints.h \
	daemon/http/api/page_files.h

# The page is built into the daemon.
PAGE_FILES = \
	daemon/http/api/page/index.html \
	daemon/http/api/page/style.css \
	daemon/http/api/page/icon.svg \
	daemon/http/api/page/main.js \
	daemon/http/api/page/dom.js \
	daemon/http/api/page/request.js \
	daemon/http/api/page/chart.js \
	daemon/http/api/page/measure.js \
	daemon/http/api/page/overview.js \
	daemon/http/api/page/heat_map.js \
	daemon/http/api/page/versions.js \
	daemon/http/api/page/quarantine.js \
	daemon/http/api/page/playground.js
nodist_daemon_http_api_libapi_a_SOURCES = daemon/http/api/openapi_lines.c \
	daemon/http/api/page_files.c
EXTRA_DIST += $(PAGE_FILES) daemon/http/api/page_files.awk
CLEANFILES += daemon/http/api/page_files.c
daemon/http/api/page_files.c: $(PAGE_FILES) daemon/http/api/page_files.awk
	$(AM_V_GEN)$(MKDIR_P) daemon/http/api && \
	(cd $(srcdir) && $(AWK) -f daemon/http/api/page_files.awk $(PAGE_FILES)) \
	  > $@.tmp && mv $@.tmp $@

# So is what no table says about the endpoints.
EXTRA_DIST += daemon/http/api/openapi.json daemon/http/api/openapi.awk
CLEANFILES += daemon/http/api/openapi_lines.c
daemon/http/api/openapi_lines.c: daemon/http/api/openapi.json daemon/http/api/openapi.awk
	$(AM_V_GEN)$(MKDIR_P) daemon/http/api && \
	$(AWK) -v name=openapi_lines -f $(srcdir)/daemon/http/api/openapi.awk \
	  $(srcdir)/daemon/http/api/openapi.json > $@.tmp && mv $@.tmp $@

HTTP_API_LIBS = daemon/http/api/libapi.a $(HTTP_COMPLETION_LIBS) \
	$(TRAIN_LIBS)
