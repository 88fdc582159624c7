/*
 * A sample of the library: one file, compressed and decompressed in memory.
 *
 *   in_memory_test [-l LICENSE_FILE] [-t THREADS] [-n ROUNDS] FILE
 *       there and back, compare, and say how long it took; with THREADS, in as many at once
 *   in_memory_test [-l LICENSE_FILE] -m compress|decompress|auto FILE OUTPUT
 *       once, and write the result (OUTPUT must not exist)
 *
 * Exits 0 where all went well, with the status where the library refused, with 64 for a wrong
 * command line, 65 where a round trip gave other bytes, 66 where a file cannot be read or written.
 *
 *   gcc -o in_memory_test in_memory_test.c -I. -L. -lpixspan_memory -lpthread
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pixspan_memory.h"

enum { EXIT_USAGE = 64, EXIT_MISMATCH = 65, EXIT_FILE = 66, MAX_THREADS = 256 };

struct file {
    unsigned char *bytes;
    size_t size;
};

struct work {
    struct file file;
    const char *license;
    int rounds;
    double compress_seconds, decompress_seconds; /* the best of the rounds */
    size_t compressed_size;
    int result;
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Read a whole file into memory of exactly its size. */
static int read_file(const char *path, struct file *file)
{
    FILE *f = fopen(path, "rb");
    long size = -1;

    file->bytes = NULL;
    if (f != NULL && fseek(f, 0, SEEK_END) == 0)
        size = ftell(f);
    if (size >= 0 && fseek(f, 0, SEEK_SET) == 0) {
        file->size = (size_t)size;
        file->bytes = malloc(file->size > 0 ? file->size : 1);
        if (file->bytes != NULL && fread(file->bytes, 1, file->size, f) != file->size) {
            free(file->bytes);
            file->bytes = NULL;
        }
    }
    if (file->bytes == NULL)
        fprintf(stderr, "%s: cannot be read: %s\n", path, strerror(errno));
    if (f != NULL)
        fclose(f);
    return file->bytes != NULL;
}

static int write_file(const char *path, const unsigned char *bytes, size_t size)
{
    FILE *f = fopen(path, "wbx"); /* x: never over a file that is there */
    int good = f != NULL && fwrite(bytes, 1, size, f) == size;

    if (f != NULL && fclose(f) != 0)
        good = 0;
    if (!good)
        fprintf(stderr, "%s: cannot be written: %s\n", path, strerror(errno));
    return good;
}

static void print_answer(const char *what, int status, const struct pixspan_process_info *info)
{
    printf("%-10s %s: %s\n", what, pixspan_status_name(status), info->message);
    if (info->format[0] != '\0')
        printf("           %s\n", info->format);
    if (status == PIXSPAN_STATUS_SUCCESS)
        printf("           %zu -> %zu bytes, level %s, xxh3-128 %s\n", info->original_size,
               info->compressed_size, info->level, info->hash);
}

/* There and back once; 0, or the exit code. */
static int round_trip(struct work *work, int loud)
{
    struct pixspan_process_info there, back;
    double t0, t1, t2;
    int status, result = 0;

    t0 = now();
    status = pixspan_process(PIXSPAN_MODE_COMPRESS, work->license, work->file.bytes,
                             work->file.size, &there);
    t1 = now();
    if (loud || status != PIXSPAN_STATUS_SUCCESS)
        print_answer("compress", status, &there);
    if (status != PIXSPAN_STATUS_SUCCESS)
        return status;
    status = pixspan_process(PIXSPAN_MODE_DECOMPRESS, work->license, there.output,
                             there.output_size, &back);
    t2 = now();
    if (loud || status != PIXSPAN_STATUS_SUCCESS)
        print_answer("decompress", status, &back);
    if (status != PIXSPAN_STATUS_SUCCESS) {
        result = status;
    } else if (back.output_size != work->file.size ||
               memcmp(back.output, work->file.bytes, work->file.size) != 0) {
        fprintf(stderr, "the round trip gave OTHER BYTES\n");
        result = EXIT_MISMATCH;
    }
    work->compressed_size = there.output_size;
    if (work->compress_seconds == 0 || t1 - t0 < work->compress_seconds)
        work->compress_seconds = t1 - t0;
    if (work->decompress_seconds == 0 || t2 - t1 < work->decompress_seconds)
        work->decompress_seconds = t2 - t1;
    free(there.output); /* free() and pixspan_free() do the same */
    pixspan_free(&back);
    return result;
}

static void *rounds(void *argument)
{
    struct work *work = argument;

    for (int i = 0; i < work->rounds && work->result == 0; i++)
        work->result = round_trip(work, 0);
    return NULL;
}

/* Round trips on several threads at once; 0, or the first exit code that is not. */
static int on_threads(const struct work *template, int count)
{
    static pthread_t threads[MAX_THREADS];
    static struct work works[MAX_THREADS];
    int started = 0, result = 0;
    double begun = now(), took;

    for (; started < count; started++) {
        works[started] = *template;
        if (pthread_create(&threads[started], NULL, rounds, &works[started]) != 0)
            break;
    }
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        if (result == 0)
            result = works[i].result;
    }
    took = now() - begun;
    if (started < count) {
        fprintf(stderr, "only %d threads could be started\n", started);
        return EXIT_FILE;
    }
    if (result == 0)
        printf("%d threads  %d round trips in %.3f s: %.0f MB/s there and back\n", count,
               count * template->rounds, took,
               1e-6 * (double)template->file.size * count * template->rounds / took);
    return result;
}

static int compare(struct work *work, int threads)
{
    double megabytes = 1e-6 * (double)work->file.size;
    int result = round_trip(work, 1); /* loads the codec, too */

    for (int i = 0; i < work->rounds && result == 0; i++)
        result = round_trip(work, 0);
    if (result == 0)
        printf("identical  %.2f:1, compress %.1f ms (%.0f MB/s), decompress %.1f ms (%.0f MB/s)\n",
               (double)work->file.size / (double)work->compressed_size,
               1e3 * work->compress_seconds, megabytes / work->compress_seconds,
               1e3 * work->decompress_seconds, megabytes / work->decompress_seconds);
    if (result == 0 && threads > 1)
        result = on_threads(work, threads);
    return result;
}

static int convert(const char *name, const struct work *work, const char *output)
{
    static const char *const names[] = {"compress", "decompress", "auto"};
    struct pixspan_process_info info;
    int mode = 0, status, good = 1;

    while (mode < 3 && strcmp(names[mode], name) != 0)
        mode++;
    status = pixspan_process(mode, work->license, work->file.bytes, work->file.size, &info);
    print_answer(name, status, &info);
    if (status == PIXSPAN_STATUS_SUCCESS)
        good = write_file(output, info.output, info.output_size);
    pixspan_free(&info);
    return good ? status : EXIT_FILE;
}

static int usage(const char *program)
{
    fprintf(stderr,
            "usage: %s [-l LICENSE_FILE] [-t THREADS] [-n ROUNDS] FILE\n"
            "       %s [-l LICENSE_FILE] -m compress|decompress|auto FILE OUTPUT\n",
            program, program);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    struct work work = {.rounds = 1};
    struct file license = {NULL, 0};
    const char *mode = NULL, *license_path = NULL;
    int option, threads = 1, result = EXIT_FILE;
    char *key = NULL;

    while ((option = getopt(argc, argv, "l:t:n:m:")) != -1) {
        if (option == 'l')
            license_path = optarg;
        else if (option == 't')
            threads = atoi(optarg);
        else if (option == 'n')
            work.rounds = atoi(optarg);
        else if (option == 'm')
            mode = optarg;
        else
            return usage(argv[0]);
    }
    if (argc - optind != (mode != NULL ? 2 : 1) || threads < 1 || threads > MAX_THREADS ||
        work.rounds < 1)
        return usage(argv[0]);
    if (license_path != NULL) {
        if (!read_file(license_path, &license))
            return EXIT_FILE;
        key = calloc(license.size + 1, 1);
        if (key != NULL)
            memcpy(key, license.bytes, license.size);
        work.license = key;
    }
    if (read_file(argv[optind], &work.file))
        result = mode != NULL ? convert(mode, &work, argv[optind + 1]) : compare(&work, threads);
    free(work.file.bytes);
    free(license.bytes);
    free(key);
    return result;
}
