# SPDX-License-Identifier: Apache-2.0
# What other programs need to run mnemed and to watch it.

# The unit names the folders of this installation.
contrib/systemd/mnemed.service: $(top_srcdir)/contrib/systemd/mnemed.service.in Makefile
	$(AM_V_GEN)$(MKDIR_P) contrib/systemd && \
	  $(SED) -e 's|@sbindir[@]|$(sbindir)|g' -e 's|@sysconfdir[@]|$(sysconfdir)|g' \
	    $(top_srcdir)/contrib/systemd/mnemed.service.in >$@.new && mv $@.new $@
noinst_DATA = contrib/systemd/mnemed.service
if HAVE_SYSTEMD_UNITS
systemdsystemunit_DATA = contrib/systemd/mnemed.service
endif

# Alert rules for Prometheus with their tests, and a dashboard for Grafana.
prometheusdir = $(pkgdatadir)/prometheus
dist_prometheus_DATA = contrib/prometheus/mneme.rules.yml \
	contrib/prometheus/mneme.rules.test.yml
# The links of the rules to the runbook name the folders of this installation.
install-data-hook:
	for name in mneme.rules.yml mneme.rules.test.yml; do \
	  file=$(DESTDIR)$(prometheusdir)/$$name; \
	  $(SED) 's|file:///usr/share/doc/mneme/|file://$(docdir)/|' $$file \
	    >$$file.new && cat $$file.new >$$file && rm -f $$file.new || exit 1; \
	done
grafanadir = $(pkgdatadir)/grafana
dist_grafana_DATA = contrib/grafana/mneme.json
dist_doc_DATA = docs/RUNBOOK.md
CLEANFILES += contrib/systemd/mnemed.service
EXTRA_DIST += contrib/systemd/mnemed.service.in \
	contrib/container/Containerfile
