/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/help.h"

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#define WIDTH 78
#define OPTION_INDENT 24

static const char exit_codes[] =
    "Exit status: 0 for success; 1 for a failure, which one line on the "
    "standard error explains; 2 for wrong usage or a wrong configuration; 3 "
    "when the state does not allow the action (no such version, the gate "
    "refused, the daemon is not ready). When the reader of its standard output "
    "leaves, mneme ends by SIGPIPE, without a message.\n";

/* --- plain text --------------------------------------------------------- */

/* Prints text from column `at`, breaks lines before column WIDTH, and ends the
 * last line. */
static void wrap(const char *text, int indent, int at, FILE *out)
{
    while (*text) {
        int n = (int)strcspn(text, " \n");

        if (at > indent && at + 1 + n > WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            at = indent;
        } else if (at > indent) {
            fputc(' ', out);
            at++;
        }
        fwrite(text, 1, (size_t)n, out);
        at += n;
        text += n;
        if (*text == '\n') {
            fputc('\n', out);
            at = indent;
            if (text[1])
                fprintf(out, "%*s", indent, "");
        }
        text += *text != '\0';
    }
    if (at > indent)
        fputc('\n', out);
}

static void option_text(const struct verb_option *o, FILE *out)
{
    char letter[8] = "   ";
    char *left;

    if (o->letter)
        snprintf(letter, sizeof letter, "-%c,", o->letter);
    left = xasprintf("  %s --%s%s%s", letter, o->name, o->value ? " " : "",
                     o->value ? o->value : "");
    fprintf(out, "%-*s", OPTION_INDENT, left);
    if (strlen(left) >= OPTION_INDENT)
        fprintf(out, "\n%*s", OPTION_INDENT, "");
    wrap(o->help, OPTION_INDENT, OPTION_INDENT, out);
    free(left);
}

void help_verb(const struct verb *verb, FILE *out)
{
    fprintf(out, "Usage: mneme %s [OPTION]...%s%s\n\n", verb->name,
            verb->words ? " " : "", verb->words ? verb->words : "");
    wrap(verb->summary, 0, 0, out);
    if (verb->details) {
        fputc('\n', out);
        wrap(verb->details, 0, 0, out);
    }
    if (verb->exits)
        wrap(verb->exits, 0, 0, out);
    fputc('\n', out);
    for (const struct verb_option *o = verb->options; o && o->name; o++)
        option_text(o, out);
    for (const struct verb_option *o = verb_common; o->name; o++)
        if (verb_takes(verb, o))
            option_text(o, out);
}

void help_all(FILE *out)
{
    fputs("Usage: mneme VERB [OPTION]... [ARGUMENT]...\n\n"
          "The client of the daemon mnemed: watches it learn, asks its model, "
          "rolls back.\n\n",
          out);
    for (size_t i = 0; i < verbs_n; i++) {
        char *left = xasprintf("%s%s%s", verbs[i].name,
                               verbs[i].words ? " " : "",
                               verbs[i].words ? verbs[i].words : "");

        fprintf(out, "  %-*s", OPTION_INDENT - 2, left);
        if (strlen(left) > OPTION_INDENT - 4)
            fprintf(out, "\n%*s", OPTION_INDENT, "");
        wrap(verbs[i].summary, OPTION_INDENT, OPTION_INDENT, out);
        free(left);
    }
    fputs("\nFor more about a verb: mneme help VERB, or mneme(1).\n\n", out);
    wrap(exit_codes, 0, 0, out);
}

/* --- roff --------------------------------------------------------------- */

static void roff(const char *text, FILE *out)
{
    for (bool first = true; *text; first = *text == '\n', text++) {
        if (first && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else if (*text == '\n' && text[1])
            fputs("\n.PP\n", out);
        else
            fputc(*text, out);
    }
}

static void roff_line(const char *text, FILE *out)
{
    roff(text, out);
    if (text[0] && text[strlen(text) - 1] != '\n')
        fputc('\n', out);
}

static void roff_option(const struct verb_option *o, FILE *out)
{
    fputs(".TP\n", out);
    if (o->letter)
        fprintf(out, "\\fB\\-%c\\fR, ", o->letter);
    fputs("\\fB\\-\\-", out);
    roff(o->name, out);
    fputs("\\fR", out);
    if (o->value)
        fprintf(out, " \\fI%s\\fR", o->value);
    fputc('\n', out);
    roff_line(o->help, out);
}

static void roff_verb(const struct verb *verb, FILE *out)
{
    fprintf(out, ".SS mneme %s", verb->name);
    if (verb->words) {
        fputc(' ', out);
        roff(verb->words, out);
    }
    fputc('\n', out);
    roff_line(verb->summary, out);
    if (verb->details) {
        fputs(".PP\n", out);
        roff_line(verb->details, out);
    }
    if (verb->exits) {
        fputs(".PP\n", out);
        roff_line(verb->exits, out);
    }
    for (const struct verb_option *o = verb->options; o && o->name; o++)
        roff_option(o, out);
}

void help_man(FILE *out)
{
    fputs(".\\\" SPDX-License-Identifier: Apache-2.0\n"
          ".\\\" Made from the table of verbs in cli/verbs.c by: mneme help "
          "--man\n"
          ".TH MNEME 1 2026-11-28 mneme \"User commands\"\n"
          ".SH NAME\n"
          "mneme \\- client of mnemed: watch it learn, ask its model, roll "
          "back\n"
          ".SH SYNOPSIS\n"
          ".B mneme\n.I VERB\n.RI [ OPTION ]...\n.RI [ ARGUMENT ]...\n"
          ".SH DESCRIPTION\n"
          "The client of\n.BR mnemed (8).\n"
          "Most verbs send requests to the daemon. The verbs doctor, verify, "
          "backup, restore, bench and eval need no daemon.\n"
          ".SH VERBS\n",
          out);
    for (size_t i = 0; i < verbs_n; i++)
        roff_verb(&verbs[i], out);
    fputs(".SH OPTIONS OF EVERY VERB\n"
          "Verbs that print a table or a reply take \\fB\\-\\-json\\fR.\n",
          out);
    for (const struct verb_option *o = verb_common; o->name; o++)
        roff_option(o, out);
    fputs(".SH EXIT STATUS\n", out);
    roff_line(exit_codes + sizeof "Exit status:", out);
    fputs(".SH ENVIRONMENT\n"
          ".TP\n.B MNEME_ADDR\nThe daemon\'s address, when "
          "\\fB\\-\\-addr\\fR is not given.\n"
          ".TP\n.B MNEME_CA\nThe file of certificates, when "
          "\\fB\\-\\-ca\\fR is not given.\n"
          ".TP\n.B MNEME_TOKEN\nThe token that each request "
          "carries, for a daemon that requires one.\n"
          ".TP\n.B MNEMED\nThe mnemed that \\fBdemo\\fR and "
          "\\fBverify \\-\\-retrain\\fR start.\n"
          ".SH EXAMPLES\n.nf\n"
          "mneme demo\n"
          "mneme status\n"
          "mneme feed \\-\\-topic text \\-\\-domain billing tickets.txt.gz\n"
          "mneme score \"The invoice was paid.\"\n"
          "mneme generate \"The invoice\" \\-\\-seed 1\n"
          "mneme versions\n"
          "mneme diff 41 42\n"
          "mneme rollback 41 \\-\\-stream skip \\-\\-reason \"a bad feed\"\n"
          "mneme verify \\-\\-all \\-\\-data\\-dir /var/lib/mneme\n"
          ".fi\n"
          ".SH SEE ALSO\n.BR mnemed (8),\n.BR mneme.yaml (5)\n",
          out);
}
