/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A drawing in SVG, without scripts and fonts of its own. One band for each
 * `equal`, and in it one panel for each arm:
 *
 *     title
 *     lines      losses by domain over the stream, and their mean
 *     heat map   the matrix: a row for each part of the stream
 *
 * Losses have a logarithmic scale, since text that is not known yet costs ten
 * times as much as text that is. All panels have the same scales. The colours
 * of text and background follow the reader's choice of light or dark.
 */
#include "config.h"

#include "eval/eval.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LEFT 90 /* of the plot in its panel */
#define PLOT_W 300
#define PLOT_H 190
#define PANEL_W (LEFT + PLOT_W + 26)
#define TOP 62 /* of the plot in its band */
#define MAP_TOP (TOP + PLOT_H + 78)
#define HEAD 44 /* above the bands */
#define FOOT 56
#define MOST_NUMBERS 12 /* domains; with more, cells have no numbers */
#define MOST_NAMES 16   /* with more, domains have neither colours nor names */

static const char *const colours[] = {"#3b82c4", "#d9822b", "#2f9e6e",
                                      "#c44f8e", "#8a6bd1", "#a8951f",
                                      "#35a0b5", "#c85050"};
#define N_COLOURS (sizeof colours / sizeof *colours)

struct chart {
    struct buf *out;
    const json_t *report;
    size_t n;           /* domains */
    bool accuracy;      /* accuracies instead of losses */
    bool versions;      /* the horizontal axis has versions */
    bool many;          /* more than MOST_NAMES domains */
    double least, most; /* the vertical scale */
    double x_most;
};

/* --- text --------------------------------------------------------------- */

/* Appends text of at most `most` characters, without those that XML forbids. */
static void add_text(struct buf *out, const char *s, size_t most)
{
    size_t n = 0;

    for (; *s && n < most; n++) {
        size_t bytes = 1;

        while (((unsigned char)s[bytes] & 0xc0) == 0x80)
            bytes++;
        if (*s == '<' || *s == '>' || *s == '&' || *s == '"')
            buf_addf(out, "&#%d;", *s);
        else if ((unsigned char)*s < ' ' || *s == 0x7f ||
                 (bytes == 3 && !memcmp(s, "\xef\xbf", 2) &&
                  (unsigned char)s[2] >= 0xbe))
            buf_addc(out, ' ');
        else
            buf_add(out, s, bytes);
        s += bytes;
    }
    if (*s)
        buf_adds(out, "\xe2\x80\xa6");
}

static void text(struct chart *c, double x, double y, const char *class,
                 const char *s, size_t most)
{
    buf_addf(c->out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class);
    add_text(c->out, s, most);
    buf_adds(c->out, "</text>\n");
}

static void __attribute__((format(printf, 5, 6)))
textf(struct chart *c, double x, double y, const char *class, const char *fmt,
      ...)
{
    char formatted[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(formatted, sizeof formatted, fmt, ap);
    va_end(ap);
    text(c, x, y, class, formatted, sizeof formatted);
}

/* --- the report --------------------------------------------------------- */

static const char *domain_name(const struct chart *c, size_t j)
{
    const json_t *d = json_array_get(json_object_get(c->report, "domains"), j);
    const char *name = json_string_value(json_object_get(d, "name"));

    return name ? name : "";
}

static const char *row_name(const struct chart *c, const json_t *arm, size_t i)
{
    const char *name =
        json_string_value(json_array_get(json_object_get(arm, "rows"), i));

    return name ? name : domain_name(c, i);
}

static double number(const json_t *x)
{
    return json_is_number(x) ? json_number_value(x) : NAN;
}

/* The points of an arm: *x, and for each domain the mean over its runs. */
static double point(const struct chart *c, const json_t *arm, size_t p,
                    size_t j, double *x)
{
    const json_t *runs = json_object_get(arm, "runs"), *run;
    const char *key = c->accuracy ? "accuracy" : "loss";
    double sum = 0;
    size_t k;

    if (c->versions) {
        const json_t *v = json_array_get(json_object_get(arm, "versions"), p);

        *x = number(json_object_get(v, "version"));
        return number(json_array_get(json_object_get(v, key), j));
    }
    json_array_foreach((json_t *)runs, k, run)
    {
        const json_t *curve = json_object_get(run, "curve");

        if (k == 0)
            *x = number(json_array_get(json_object_get(curve, "bytes"), p));
        sum += number(
            json_array_get(json_array_get(json_object_get(curve, key), p), j));
    }
    return sum / (double)json_array_size(runs);
}

static size_t count_points(const struct chart *c, const json_t *arm)
{
    if (c->versions)
        return json_array_size(json_object_get(arm, "versions"));
    return json_array_size(json_object_get(
        json_object_get(json_array_get(json_object_get(arm, "runs"), 0),
                        "curve"),
        "bytes"));
}

static double cell(const struct chart *c, const json_t *arm, size_t i, size_t j)
{
    const json_t *m = json_object_get(arm, c->accuracy ? "accuracy" : "matrix");

    return number(json_array_get(json_array_get(m, i), j));
}

static void widen(struct chart *c, double value)
{
    if (isnan(value))
        return;
    c->least = isnan(c->least) ? value : fmin(c->least, value);
    c->most = isnan(c->most) ? value : fmax(c->most, value);
}

static void find_scales(struct chart *c)
{
    const json_t *arm;
    double x = 0;
    size_t a;

    c->least = c->most = NAN;
    json_array_foreach(json_object_get(c->report, "arms"), a, arm)
    {
        size_t n_points = count_points(c, arm);

        for (size_t j = 0; j < c->n; j++) {
            for (size_t p = 0; p < n_points; p++) {
                widen(c, point(c, arm, p, j, &x));
                c->x_most = fmax(c->x_most, x);
            }
            for (size_t i = 0; i < c->n; i++)
                widen(c, cell(c, arm, i, j));
        }
    }
    if (c->accuracy) {
        c->least = 0;
        c->most = 1;
    } else if (isnan(c->least)) {
        c->least = 1;
        c->most = 8;
    } else {
        c->least = fmax(c->least, 0.01) * 0.92;
        c->most = fmax(c->most, c->least * 1.2) * 1.06;
    }
    if (c->x_most <= 0)
        c->x_most = 1;
}

/* 0 to 1 on the vertical scale. */
static double height(const struct chart *c, double value)
{
    double at = c->accuracy ? value
                            : log(fmax(value, 1e-6) / c->least) /
                                  log(c->most / c->least);

    return at < 0 ? 0 : at > 1 ? 1 : at;
}

/* --- lines -------------------------------------------------------------- */

static void grid_line(struct chart *c, double x, double y, double value)
{
    double at = y + PLOT_H * (1 - height(c, value));

    buf_addf(c->out,
             "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" "
             "class=\"grid\"/>\n",
             x, at, x + PLOT_W, at);
    textf(c, x - 7, at + 4, "small end", "%g", value);
}

static void draw_vertical_axis(struct chart *c, double x, double y)
{
    static const double losses[] = {0.125, 0.25, 0.5, 0.75, 1,  1.25, 1.5,
                                    2,     2.5,  3,   4,    5,  6,    8,
                                    10,    12,   16,  24,   32, 64};
    double last = 1e9;

    for (int i = 0; c->accuracy && i <= 5; i++)
        grid_line(c, x, y, i / 5.0);
    for (size_t i = 0; !c->accuracy && i < sizeof losses / sizeof *losses;
         i++) {
        double at = PLOT_H * (1 - height(c, losses[i]));

        if (losses[i] < c->least || losses[i] > c->most || last - at < 17)
            continue;
        grid_line(c, x, y, losses[i]);
        last = at;
    }
    buf_addf(c->out,
             "<text transform=\"translate(%.1f %.1f) rotate(-90)\" "
             "class=\"small mid\">%s</text>\n",
             x - 42, y + PLOT_H / 2.0,
             c->accuracy ? "accuracy" : "bits per byte (log scale)");
}

static void draw_horizontal_axis(struct chart *c, double x, double y)
{
    double power = pow(10, floor(log10(c->x_most / 4)));
    double step = power * (c->x_most / 4 / power < 2   ? 1
                           : c->x_most / 4 / power < 5 ? 2
                                                       : 5);
    bool mega = !c->versions && c->x_most >= 2e6;
    double unit = c->versions ? 1 : mega ? 1e6 : 1e3;

    for (double at = 0; at <= c->x_most * 1.0001; at += step) {
        double px = x + PLOT_W * at / c->x_most;

        buf_addf(c->out,
                 "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" "
                 "class=\"axis\"/>\n",
                 px, y + PLOT_H, px, y + PLOT_H + 4);
        textf(c, px, y + PLOT_H + 17, "small mid", "%g", at / unit);
    }
    text(c, x + PLOT_W / 2.0, y + PLOT_H + 33, "small mid",
         c->versions ? "version"
         : mega      ? "MB of text learned"
                     : "kB of text learned",
         64);
}

/* The ends of the parts; in sequence, with a strip in the colour of the domain
 * that is learned. */
static void draw_parts(struct chart *c, const json_t *arm, double x, double y)
{
    const char *order = json_string_value(json_object_get(c->report, "order"));
    const char *name = json_string_value(json_object_get(arm, "arm"));
    bool strip = order && !strcmp(order, "sequence") &&
                 !(name && !strcmp(name, "joint"));
    double from = 0;

    for (size_t j = 0; j < c->n && !c->versions && !c->many; j++) {
        const json_t *d =
            json_array_get(json_object_get(c->report, "domains"), j);
        double to = from + number(json_object_get(d, "bytes"));
        double x1 = x + PLOT_W * from / c->x_most;
        double x2 = x + PLOT_W * fmin(to / c->x_most, 1);

        if (strip) {
            buf_addf(c->out,
                     "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                     "height=\"6\" fill=\"%s\"><title>",
                     x1, y - 9, fmax(x2 - x1 - 1, 0.5), colours[j % N_COLOURS]);
            add_text(c->out, domain_name(c, j), 64);
            buf_adds(c->out, "</title></rect>\n");
        }
        if (j + 1 < c->n)
            buf_addf(c->out,
                     "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" "
                     "class=\"part\"/>\n",
                     x2, y, x2, y + PLOT_H);
        from = to;
    }
}

/* Domain j, or with j == n the mean of all of them. */
static void draw_line(struct chart *c, const json_t *arm, size_t j, double x,
                      double y)
{
    size_t n_points = count_points(c, arm);
    bool drawn = false;

    if (j < c->n && c->many)
        buf_adds(c->out, "<path class=\"line faint\" d=\"");
    else if (j < c->n)
        buf_addf(c->out, "<path class=\"line\" stroke=\"%s\"%s d=\"",
                 colours[j % N_COLOURS],
                 j / N_COLOURS % 2 ? " stroke-dasharray=\"5 3\"" : "");
    else
        buf_adds(c->out, "<path class=\"line mean\" d=\"");
    for (size_t p = 0; p < n_points; p++) {
        double at = 0, value = 0;

        if (j < c->n)
            value = point(c, arm, p, j, &at);
        for (size_t k = 0; j == c->n && k < c->n; k++)
            value += point(c, arm, p, k, &at) / (double)c->n;
        if (isnan(value) || isnan(at))
            continue;
        buf_addf(c->out, "%s%.1f %.1f", drawn ? " L" : "M",
                 x + PLOT_W * at / c->x_most,
                 y + PLOT_H * (1 - height(c, value)));
        drawn = true;
    }
    if (!drawn)
        buf_addf(c->out, "M%.1f %.1f", x, y);
    buf_adds(c->out, "\"/>\n");
}

static void draw_lines(struct chart *c, const json_t *arm, double x, double y)
{
    draw_vertical_axis(c, x, y);
    draw_horizontal_axis(c, x, y);
    draw_parts(c, arm, x, y);
    buf_addf(c->out, "<path class=\"axis\" d=\"M%.1f %.1f V%.1f H%.1f\"/>\n", x,
             y, y + PLOT_H, x + PLOT_W);
    for (size_t j = 0; j < c->n; j++)
        draw_line(c, arm, j, x, y);
    if (c->n > 1)
        draw_line(c, arm, c->n, x, y);
}

/* --- the heat map ------------------------------------------------------- */

/* Pale is good, dark is bad: readable without colours, too. */
static void cell_colour(double bad, int rgb[3])
{
    static const int stops[3][3] = {
        {236, 245, 238}, {244, 190, 92}, {142, 26, 54}};
    int low = bad < 0.5 ? 0 : 1;
    double at = bad < 0.5 ? 2 * bad : 2 * bad - 1;

    for (int i = 0; i < 3; i++)
        rgb[i] = (int)lround(stops[low][i] +
                             at * (stops[low + 1][i] - stops[low][i]));
}

static void draw_cell(struct chart *c, const json_t *arm, double x, double y,
                      double w, double h, size_t i, size_t j)
{
    double value = cell(c, arm, i, j);
    double bad = c->accuracy ? 1 - value : height(c, value);
    int rgb[3];

    if (!c->many) { /* a gap between the cells */
        w -= 1;
        h -= 1;
    }
    if (isnan(value)) {
        buf_addf(c->out,
                 "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                 "height=\"%.1f\" class=\"none\"/>\n",
                 x, y, w, h);
        return;
    }
    cell_colour(bad, rgb);
    if (c->many) {
        buf_addf(c->out,
                 "<path d=\"M%.1f %.1fh%.1fv%.1fh%.1fz\" "
                 "fill=\"#%02x%02x%02x\"/>\n",
                 x, y, w + 0.1, h + 0.1, -w - 0.1, (unsigned)rgb[0],
                 (unsigned)rgb[1], (unsigned)rgb[2]);
        return;
    }
    buf_adds(c->out, "<g><title>after ");
    add_text(c->out, row_name(c, arm, i), 64);
    buf_adds(c->out, ", on ");
    add_text(c->out, domain_name(c, j), 64);
    buf_addf(c->out,
             ": %.4f</title><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
             "height=\"%.1f\" fill=\"#%02x%02x%02x\"/>\n",
             value, x, y, w, h, (unsigned)rgb[0], (unsigned)rgb[1],
             (unsigned)rgb[2]);
    if (c->n <= MOST_NUMBERS)
        textf(c, x + w / 2, y + h / 2 + 4, bad > 0.72 ? "cell light" : "cell",
              "%.*f", value < 9.995 ? 2 : 1, value);
    buf_adds(c->out, "</g>\n");
}

static double cell_height(const struct chart *c)
{
    return c->n <= MOST_NUMBERS ? 22 : 300.0 / (double)c->n;
}

static double map_height(const struct chart *c)
{
    return cell_height(c) * (double)c->n + 24;
}

static void draw_map(struct chart *c, const json_t *arm, double x, double y)
{
    double w = (double)PLOT_W / (double)c->n, h = cell_height(c);
    size_t fit = (size_t)(w / 6.4);

    text(c, x, y - 22, "small",
         c->accuracy ? "accuracy on each domain (column), after each (row)"
                     : "bits per byte on each domain (column), after each "
                       "(row)",
         80);
    for (size_t j = 0; j < c->n; j++) {
        double mid = x + w * ((double)j + 0.5);

        if (c->n <= MOST_NUMBERS) {
            text(c, mid, y - 6, "small mid", domain_name(c, j),
                 fit > 2 ? fit - 1 : 1);
            text(c, x - 6, y + h * ((double)j + 0.5) + 4, "small end",
                 row_name(c, arm, j), 10);
        }
        for (size_t i = 0; i < c->n; i++)
            draw_cell(c, arm, x + w * (double)j, y + h * (double)i, w, h, i, j);
    }
}

/* --- all of it ---------------------------------------------------------- */

static const char style[] =
    "<style>\n"
    ".back{fill:#fff}text{fill:#1f2328;font:13px system-ui,'Segoe UI',"
    "'DejaVu Sans',sans-serif}\n"
    ".title{font-size:17px;font-weight:600}.arm{font-size:14px;"
    "font-weight:600}.small{font-size:11px;fill:#57606a}\n"
    ".mid,.cell{text-anchor:middle}.end{text-anchor:end}"
    ".cell{font-size:11px;fill:#1f2328}.light{fill:#fff}\n"
    ".grid{stroke:#e3e7eb}.axis{stroke:#8c959f;fill:none}"
    ".part{stroke:#8c959f;stroke-dasharray:2 3}.none{fill:#eaedf0}\n"
    ".line{fill:none;stroke-width:1.6;stroke-linejoin:round}"
    ".mean{stroke:#1f2328;stroke-width:2.6}\n"
    ".faint{stroke:#8c959f;stroke-opacity:.3;stroke-width:1}\n"
    "@media (prefers-color-scheme:dark){.back{fill:#10151b}"
    "text{fill:#e6edf3}.small{fill:#9aa5b1}.grid{stroke:#262d36}\n"
    ".axis,.part{stroke:#6b7683}.none{fill:#222932}"
    ".mean{stroke:#e6edf3}.cell{fill:#1f2328}.light{fill:#fff}}\n"
    "</style>\n";

static void draw_legend(struct chart *c, double y, double width)
{
    double x = LEFT;

    for (size_t j = c->many ? c->n : 0; j < c->n + (c->n > 1); j++) {
        bool is_mean = j == c->n;
        const char *name = is_mean ? "mean" : domain_name(c, j);
        size_t n = strlen(name) < 24 ? strlen(name) : 24;

        if (x + 40 + 7.5 * (double)n > width && x > LEFT) {
            x = LEFT;
            y += 18;
        }
        if (is_mean)
            buf_addf(c->out,
                     "<path class=\"line mean\" d=\"M%.1f %.1f h18\"/>\n", x,
                     y - 4);
        else
            buf_addf(c->out,
                     "<path class=\"line\" stroke=\"%s\"%s d=\"M%.1f %.1f "
                     "h18\"/>\n",
                     colours[j % N_COLOURS],
                     j / N_COLOURS % 2 ? " stroke-dasharray=\"5 3\"" : "", x,
                     y - 4);
        text(c, x + 24, y, "", name, 24);
        x += 46 + 7.5 * (double)n;
    }
}

/* The number of arms before `a` with the same `equal`, and of other values of
 * `equal` before it. */
static void find_place(const json_t *arms, size_t a, size_t *column,
                       size_t *band)
{
    const json_t *last = NULL;

    *column = *band = 0;
    for (size_t i = 0; i <= a; i++) {
        const json_t *equal = json_object_get(json_array_get(arms, i), "equal");

        if (i && equal && last && !json_equal(equal, last)) {
            (*band)++;
            *column = 0;
        } else if (i) {
            (*column)++;
        }
        last = equal;
    }
}

static void draw_arm(struct chart *c, const json_t *arm, double x, double y)
{
    const json_t *mean = json_object_get(arm, "mean");
    const char *equal = json_string_value(json_object_get(arm, "equal"));
    const char *name = json_string_value(json_object_get(arm, "arm"));
    double final = number(
        json_object_get(mean, c->accuracy ? "final_accuracy" : "final_mean"));
    double forgetting = number(json_object_get(mean, "forgetting"));

    textf(c, x + LEFT, y + 18, "arm", "%s%s%s", name ? name : "",
          equal ? ", equal " : "", equal ? equal : "");
    if (!isnan(forgetting) && !c->accuracy)
        textf(c, x + LEFT, y + 37, "small", "final mean %.3f, forgetting %.3f",
              final, forgetting);
    else if (!isnan(final))
        textf(c, x + LEFT, y + 37, "small", "final mean %.3f", final);
    draw_lines(c, arm, x + LEFT, y + TOP);
    draw_map(c, arm, x + LEFT, y + MAP_TOP);
}

void eval_chart(const json_t *report, struct buf *svg)
{
    struct chart c = {.out = svg, .report = report};
    const json_t *arms = json_object_get(report, "arms"), *arm;
    const char *order = json_string_value(json_object_get(report, "order"));
    size_t columns = 1, bands = 1, a, column, band;
    double width, height, band_height;

    c.n = json_array_size(json_object_get(report, "domains"));
    c.many = c.n > MOST_NAMES;
    c.versions = order && !strcmp(order, "versions");
    c.accuracy =
        isnan(number(json_object_get(
            json_object_get(json_array_get(arms, 0), "mean"), "final_mean"))) &&
        json_object_get(json_array_get(arms, 0), "accuracy");
    find_scales(&c);
    json_array_foreach((json_t *)arms, a, arm)
    {
        find_place(arms, a, &column, &band);
        columns = column + 1 > columns ? column + 1 : columns;
        bands = band + 1;
    }
    band_height = MAP_TOP + map_height(&c);
    width = fmax((double)columns * PANEL_W + 20, 560);
    height = HEAD + (double)bands * band_height + FOOT +
             (c.many ? 0 : 18 * floor((double)c.n * 130 / width));
    buf_addf(svg,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" "
             "height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n"
             "<title>mneme eval</title>\n%s"
             "<rect class=\"back\" width=\"%.0f\" height=\"%.0f\"/>\n",
             width, height, width, height, style, width, height);
    textf(&c, LEFT, 30, "title", "%zu domain%s, %s", c.n, c.n == 1 ? "" : "s",
          c.versions                   ? "versions on their holdout"
          : !order                     ? ""
          : !strcmp(order, "sequence") ? "one after another"
          : !strcmp(order, "gradual")  ? "each fading into the next"
          : !strcmp(order, "time")     ? "by time stamp"
                                       : "shuffled");
    json_array_foreach((json_t *)arms, a, arm)
    {
        find_place(arms, a, &column, &band);
        draw_arm(&c, arm, (double)column * PANEL_W,
                 HEAD + (double)band * band_height);
    }
    draw_legend(&c, HEAD + (double)bands * band_height + 22, width);
    buf_adds(svg, "</svg>\n");
}
