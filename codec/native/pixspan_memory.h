/*
 * Film frames in memory, losslessly smaller: a whole file in, a whole file out.
 *
 * Link with -lpixspan_memory. All functions may be called from any number of threads at once;
 * frames are coded side by side. The first call loads the codec, which takes about a second.
 * The library must not be used in a child made by fork() after it was used in the parent.
 */
#ifndef PIXSPAN_MEMORY_H
#define PIXSPAN_MEMORY_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum pixspan_mode {
    PIXSPAN_MODE_COMPRESS = 0,
    PIXSPAN_MODE_DECOMPRESS = 1,
    PIXSPAN_MODE_AUTO = 2 /* decompress what is compressed, compress anything else */
};

enum pixspan_status {
    PIXSPAN_STATUS_SUCCESS = 0,
    /* Neither a frame of a known format nor a container. */
    PIXSPAN_STATUS_NOT_SUPPORTED = 1,
    /* Recognised, and yet not done; also where the library itself cannot start. */
    PIXSPAN_STATUS_SUPPORTED_FAILED = 2,
    PIXSPAN_STATUS_ALREADY_COMPRESSED = 3,
    PIXSPAN_STATUS_ALREADY_DECOMPRESSED = 4,
    /* NULL, empty, not all in memory, or a damaged container; or the mode is none. */
    PIXSPAN_STATUS_INPUT_BUFFER_ERROR = 5,
    /* No memory for the output, or info is NULL. */
    PIXSPAN_STATUS_OUTPUT_BUFFER_OPEN_ERROR = 6,
    /* A licence is needed, and the key is expired, invalid or missing. */
    PIXSPAN_STATUS_LICENSE_EXPIRED = 7
};

/* What was found and made. Texts are UTF-8, cut to fit, and always end in a NUL. */
struct pixspan_process_info {
    unsigned char *output;  /* the caller's to free(); NULL unless the status is SUCCESS */
    size_t output_size;     /* bytes */
    size_t original_size;   /* bytes of the frame's file, 0 where not known */
    size_t compressed_size; /* bytes of the container, 0 where not known */
    char format[128];       /* the frame's format, as a person would name it */
    char level[16];         /* how the container was encoded */
    char hash[40];          /* XXH3-128 of the frame's file, in hex */
    char message[512];      /* what was done, or what was wrong and what to do about it */
};

/*
 * Compress or decompress the file of input_size bytes at input, which is only read and must not
 * change meanwhile. What info held before is overwritten, never freed.
 *
 * license may be NULL where the library needs none. Returns a pixspan_status.
 */
int pixspan_process(int mode, const char *license, const unsigned char *input, size_t input_size,
                    struct pixspan_process_info *info);

/* Free the output and forget it; does nothing when there is none, or info is NULL. */
void pixspan_free(struct pixspan_process_info *info);

/* "PIXSPAN_STATUS_SUCCESS" and so on; "PIXSPAN_STATUS_UNKNOWN" for any other number. */
const char *pixspan_status_name(int status);

/* The library's version, such as "0.1.0". */
const char *pixspan_version(void);

#ifdef __cplusplus
}
#endif

#endif
