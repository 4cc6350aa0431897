/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/completion.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "cli/verb.h"

/* --- what fits ---------------------------------------------------------- */

struct fits {
    char words[256]; /* literal words, each with a blank behind it */
    bool paths, folders, verbs;
};

static bool is_word(const char *at, size_t n, const char *word)
{
    return n == strlen(word) && strncmp(at, word, n) == 0;
}

/* Reads a synopsis or the name of a value; NULL: nothing fits. */
static struct fits fits_of(const char *text)
{
    struct fits f = {.words = ""};

    while (text && *text) {
        size_t n = 0;

        while (isalpha((unsigned char)text[n]))
            n++;
        if (n && islower((unsigned char)*text) &&
            strlen(f.words) + n + 2 < sizeof f.words) {
            strncat(f.words, text, n);
            strcat(f.words, " ");
        }
        f.paths =
            f.paths || is_word(text, n, "FILE") || is_word(text, n, "FOLDER");
        f.folders = f.folders || is_word(text, n, "DIR");
        f.verbs = f.verbs || is_word(text, n, "VERB");
        text += n ? n : 1;
    }
    return f;
}

/* Calls `print` for the verb's own options and the common ones. */
static void each_option(const struct verb *verb,
                        void (*print)(const struct verb *verb,
                                      const struct verb_option *o, FILE *out),
                        FILE *out)
{
    for (const struct verb_option *o = verb->options; o && o->name; o++)
        print(verb, o, out);
    for (const struct verb_option *o = verb_common; o->name; o++)
        if (verb_takes(verb, o))
            print(verb, o, out);
}

static void print_verbs(FILE *out)
{
    for (size_t i = 0; i < verbs_n; i++)
        fprintf(out, "%s%s", i ? " " : "", verbs[i].name);
}

/* Prints text for single quotes, where a quote itself ends and begins them.
 * With `special`, these characters get a backslash. The first line only. */
static void print_quoted(const char *text, const char *special, FILE *out)
{
    for (; *text && *text != '\n'; text++) {
        if (*text == '\'')
            fputs("'\\''", out);
        else if (strchr(special, *text))
            fprintf(out, "\\%c", *text);
        else
            fputc(*text, out);
    }
}

/* --- bash --------------------------------------------------------------- */

static void bash_name(const struct verb *verb, const struct verb_option *o,
                      FILE *out)
{
    (void)verb;
    fprintf(out, "--%s ", o->name);
}

static const char *kind_of(const struct fits *f)
{
    if (f->folders)
        return "folders";
    return f->paths ? "paths" : "words";
}

/* A line of the case of values: what fits behind an option. */
static void bash_value(const struct verb *verb, const struct verb_option *o,
                       FILE *out)
{
    struct fits f = fits_of(o->value);

    if (!o->value)
        return;
    fprintf(out, "        %s,--%s", verb->name, o->name);
    if (o->letter)
        fprintf(out, "|%s,-%c", verb->name, o->letter);
    fprintf(out, ") kind=%s words='%s' ;;\n", kind_of(&f), f.words);
}

static void print_bash(FILE *out)
{
    fputs("# SPDX-License-Identifier: Apache-2.0\n"
          "# mneme completion for bash, made by: mneme completion bash\n"
          "_mneme() {\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]}\n"
          "    local before=${COMP_WORDS[COMP_CWORD-1]} kind= words= options=\n"
          "    COMPREPLY=()\n"
          "    if [ \"$word\" = = ]; then # --option=\n"
          "        word=\n"
          "    elif [ \"$before\" = = ]; then # --option=VALUE\n"
          "        before=${COMP_WORDS[COMP_CWORD-2]}\n"
          "    fi\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
          "        mapfile -t COMPREPLY < <(compgen -W '",
          out);
    print_verbs(out);
    fputs(" --help --version' -- \"$word\")\n"
          "        return\n"
          "    fi\n"
          "    case $verb,$before in\n",
          out);
    for (size_t i = 0; i < verbs_n; i++)
        each_option(&verbs[i], bash_value, out);
    fputs("    esac\n"
          "    if [ -z \"$kind\" ]; then\n"
          "        case $verb in\n",
          out);
    for (size_t i = 0; i < verbs_n; i++) {
        struct fits f = fits_of(verbs[i].words);

        fprintf(out, "        %s) kind=%s words='%s", verbs[i].name,
                kind_of(&f), f.words);
        if (f.verbs)
            print_verbs(out);
        fputs("' options='", out);
        each_option(&verbs[i], bash_name, out);
        fputs("' ;;\n", out);
    }
    fputs(
        "        esac\n"
        "    fi\n"
        "    case $word in\n"
        "    -*) words=$options ;;\n"
        "    *)\n"
        "        case $kind in\n"
        "        paths) mapfile -t COMPREPLY < <(compgen -f -- \"$word\") ;;\n"
        "        folders) mapfile -t COMPREPLY < <(compgen -d -- \"$word\") "
        ";;\n"
        "        esac\n"
        "        [ $kind = words ] || compopt -o filenames 2>/dev/null\n"
        "        ;;\n"
        "    esac\n"
        "    mapfile -t -O \"${#COMPREPLY[@]}\" COMPREPLY \\\n"
        "        < <(compgen -W \"$words\" -- \"$word\")\n"
        "}\n"
        "complete -F _mneme mneme\n",
        out);
}

/* --- zsh ---------------------------------------------------------------- */

/* What _arguments does for a value or a word. */
static void zsh_action(const char *text, FILE *out)
{
    struct fits f = fits_of(text);

    if (f.folders)
        fputs("_files -/", out);
    else if (f.paths)
        fputs("_files", out);
    else if (f.verbs)
        fputs("_mneme_verbs", out);
    else if (f.words[0])
        fprintf(out, "(%.*s)", (int)strlen(f.words) - 1, f.words);
    else
        fputc(' ', out);
}

static void zsh_option(const struct verb *verb, const struct verb_option *o,
                       FILE *out)
{
    (void)verb;
    fputs(" \\\n            ", out);
    if (o->letter)
        fprintf(out, "{-%c%s,--%s%s}", o->letter, o->value ? "+" : "", o->name,
                o->value ? "=" : "");
    else
        fprintf(out, "--%s%s", o->name, o->value ? "=" : "");
    fputs("'[", out);
    print_quoted(o->help, "[]:\\", out);
    fputc(']', out);
    if (o->value) {
        fputc(':', out);
        print_quoted(o->value, "[]:\\", out);
        fputc(':', out);
        zsh_action(o->value, out);
    }
    fputc('\'', out);
}

static void print_zsh(FILE *out)
{
    fputs("#compdef mneme\n"
          "# SPDX-License-Identifier: Apache-2.0\n"
          "# mneme completion for zsh, made by: mneme completion zsh\n"
          "_mneme_verbs() {\n"
          "    local -a verbs=(",
          out);
    for (size_t i = 0; i < verbs_n; i++) {
        fprintf(out, "\n        '%s:", verbs[i].name);
        print_quoted(verbs[i].summary, ":\\", out);
        fputc('\'', out);
    }
    fputs(")\n"
          "    _describe verb verbs\n"
          "}\n"
          "_mneme() {\n"
          "    if (( CURRENT == 2 )); then\n"
          "        _mneme_verbs\n"
          "        return\n"
          "    fi\n"
          "    local verb=$words[2]\n"
          "    words=(\"mneme $verb\" \"${(@)words[3,-1]}\")\n"
          "    (( CURRENT-- ))\n"
          "    case $verb in\n",
          out);
    for (size_t i = 0; i < verbs_n; i++) {
        fprintf(out, "    %s)\n        _arguments -S", verbs[i].name);
        each_option(&verbs[i], zsh_option, out);
        if (verbs[i].words) {
            fputs(" \\\n            '*:", out);
            print_quoted(verbs[i].words, "[]:\\", out);
            fputc(':', out);
            zsh_action(verbs[i].words, out);
            fputc('\'', out);
        }
        fputs(" ;;\n", out);
    }
    fputs("    esac\n"
          "}\n"
          "if [ \"$funcstack[1]\" = _mneme ]; then\n"
          "    _mneme \"$@\"\n"
          "else\n"
          "    compdef _mneme mneme\n"
          "fi\n",
          out);
}

/* --- fish --------------------------------------------------------------- */

static void fish_fits(const char *text, FILE *out)
{
    struct fits f = fits_of(text);

    if (f.folders)
        fputs(" -a '(__fish_complete_directories)'", out);
    else if (f.paths)
        fputs(" -F", out);
    else if (f.verbs) {
        fputs(" -a '", out);
        print_verbs(out);
        fputc('\'', out);
    } else if (f.words[0])
        fprintf(out, " -a '%.*s'", (int)strlen(f.words) - 1, f.words);
}

/* A quote within single quotes of fish has a backslash. */
static void fish_quoted(const char *text, FILE *out)
{
    for (; *text && *text != '\n'; text++) {
        if (*text == '\'' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
}

static void fish_option(const struct verb *verb, const struct verb_option *o,
                        FILE *out)
{
    fprintf(out, "complete -c mneme -n '__fish_seen_subcommand_from %s' -l %s",
            verb->name, o->name);
    if (o->letter)
        fprintf(out, " -s %c", o->letter);
    if (o->value) {
        fputs(fits_of(o->value).paths ? " -r" : " -x", out);
        fish_fits(o->value, out);
    }
    fputs(" -d '", out);
    fish_quoted(o->help, out);
    fputs("'\n", out);
}

static void print_fish(FILE *out)
{
    fputs("# SPDX-License-Identifier: Apache-2.0\n"
          "# mneme completion for fish, made by: mneme completion fish\n"
          "complete -c mneme -f\n",
          out);
    for (size_t i = 0; i < verbs_n; i++) {
        fprintf(out, "complete -c mneme -n __fish_use_subcommand -a %s -d '",
                verbs[i].name);
        fish_quoted(verbs[i].summary, out);
        fputs("'\n", out);
        each_option(&verbs[i], fish_option, out);
        if (!verbs[i].words)
            continue;
        fprintf(out, "complete -c mneme -n '__fish_seen_subcommand_from %s'",
                verbs[i].name);
        fish_fits(verbs[i].words, out);
        fputc('\n', out);
    }
}

/* --- all ---------------------------------------------------------------- */

int completion_print(const char *shell, FILE *out, struct err *err)
{
    static const struct {
        const char *name;
        void (*print)(FILE *out);
    } shells[] = {
        {"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};

    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
        if (strcmp(shells[i].name, shell) == 0) {
            shells[i].print(out);
            return 0;
        }
    return err_set(err, ERR_INVALID,
                   "%s: there is completion for bash, zsh and fish", shell);
}
