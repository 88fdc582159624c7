/*
 * A host that loads the library privately, as a plug-in would, and tries what a sample does not.
 * usage: native_host LIBRARY FRAME; exits 0 if every answer is the expected one.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pixspan_memory.h"

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

enum { THREADS = 4, ROUNDS = 5 };

static int (*process)(int, const char *, const unsigned char *, size_t,
                      struct pixspan_process_info *);
static void (*release)(struct pixspan_process_info *);
static unsigned char *frame; /* in memory that cannot be written */
static size_t size;

static void load_frame(const char *path)
{
    FILE *f = fopen(path, "rb");

    EXPECT(f != NULL && fseek(f, 0, SEEK_END) == 0);
    size = (size_t)ftell(f);
    frame = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fileno(f), 0);
    EXPECT(frame != MAP_FAILED);
    fclose(f);
}

static void *there_and_back(void *unused)
{
    struct pixspan_process_info there, back;

    for (int i = 0; i < ROUNDS; i++) {
        memset(&there, 0xAA, sizeof there); /* what info held before does not matter */
        EXPECT(process(PIXSPAN_MODE_AUTO, NULL, frame, size, &there) == PIXSPAN_STATUS_SUCCESS);
        EXPECT(there.compressed_size == there.output_size && there.original_size == size);
        EXPECT(process(PIXSPAN_MODE_AUTO, "", there.output, there.output_size, &back) ==
               PIXSPAN_STATUS_SUCCESS);
        EXPECT(back.output_size == size && memcmp(back.output, frame, size) == 0);
        EXPECT(strcmp(there.hash, back.hash) == 0 && strlen(back.hash) == 32);
        free(there.output);
        release(&back);
        EXPECT(back.output == NULL && back.output_size == 0);
        release(&back);
    }
    return unused;
}

static void in_a_child(void)
{
    struct pixspan_process_info info;
    pid_t child = fork();
    int status;

    if (child == 0)
        _exit(process(PIXSPAN_MODE_AUTO, NULL, frame, size, &info) !=
                  PIXSPAN_STATUS_SUPPORTED_FAILED ||
              strstr(info.message, "fork") == NULL);
    EXPECT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    void *library;

    EXPECT(argc == 3);
    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    EXPECT(library != NULL);
    *(void **)&process = dlsym(library, "pixspan_process");
    *(void **)&release = dlsym(library, "pixspan_free");
    EXPECT(process != NULL && release != NULL);
    load_frame(argv[2]);
    for (int i = 0; i < THREADS; i++) /* the first calls of all race to start the codec */
        EXPECT(pthread_create(&threads[i], NULL, there_and_back, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        EXPECT(pthread_join(threads[i], NULL) == 0);
    in_a_child();
    EXPECT(dlclose(library) == 0);
    return 0;
}
