/*
 * The C face of codec.native.bridge: an interpreter of its own, started at the first call.
 *
 * The interpreter is configured in isolation from the host's environment and command line and
 * starts without the site module: its paths are those recorded when the library was built, so
 * that no PYTHONPATH or virtual environment of the host can put another package in their place.
 * It is never ended, because numpy cannot be started twice in one process. Nothing here exits
 * the host: whatever fails becomes a status and a message.
 *
 * Macros given by the build (codec/native/build.py): PIXSPAN_VERSION, PIXSPAN_PYTHON_HOME,
 * PIXSPAN_PYTHON_PATH (colons between), PIXSPAN_LIBPYTHON, PIXSPAN_PUBLIC_KEY ("" for none).
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pixspan_memory.h"

#define EXPORT __attribute__((visibility("default")))

static pthread_once_t started = PTHREAD_ONCE_INIT;
static char start_error[512];  /* why it could not be started; empty when it was */
static PyObject *run_function; /* codec.native.bridge.run */
static pid_t owner;            /* the process the interpreter lives in; 0 if it is the host's own */

/* Copy text into a field, cut before a character that does not fit whole. */
static void put_text(char *field, size_t size, const char *text, size_t length)
{
    if (length >= size) {
        length = size - 1;
        while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80)
            length--;
    }
    memcpy(field, text, length);
    field[length] = '\0';
}

static int answer(struct pixspan_process_info *info, int status, const char *message)
{
    put_text(info->message, sizeof info->message, message, strlen(message));
    return status;
}

/* Move the error that is set into start_error. Needs the GIL. */
static void take_error(const char *doing)
{
    PyObject *type, *value, *traceback, *text = NULL;
    const char *name = "unknown error", *detail = NULL;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (type != NULL)
        name = PyExceptionClass_Name(type);
    if (value != NULL)
        text = PyObject_Str(value);
    if (text != NULL)
        detail = PyUnicode_AsUTF8(text);
    PyErr_Clear();
    snprintf(start_error, sizeof start_error, "cannot %s: %s: %s", doing, name,
             detail != NULL ? detail : "");
    Py_XDECREF(text);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

static const char *setting(const char *name, const char *recorded)
{
    const char *chosen = getenv(name);
    return chosen != NULL && *chosen != '\0' ? chosen : recorded;
}

/* Start an interpreter; the GIL is released again. False, with start_error set, where it fails. */
static int start_interpreter(void)
{
    PyPreConfig before;
    PyConfig config;
    PyStatus status;
    const char *home = setting("PIXFS_PYTHONHOME", PIXSPAN_PYTHON_HOME);

    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1; /* files are read as UTF-8 whatever locale the host has set */
    status = Py_PreInitialize(&before);
    if (!PyStatus_Exception(status)) {
        PyConfig_InitIsolatedConfig(&config);
        config.site_import = 0;
        status = PyConfig_SetBytesString(&config, &config.home, home);
        if (!PyStatus_Exception(status))
            status = Py_InitializeFromConfig(&config);
        PyConfig_Clear(&config);
    }
    if (PyStatus_Exception(status)) {
        snprintf(start_error, sizeof start_error,
                 "cannot start Python from %s: %s (PIXFS_PYTHONHOME names another place)", home,
                 status.err_msg != NULL ? status.err_msg : "unknown error");
        return 0;
    }
    owner = getpid();
    PyEval_SaveThread();
    return 1;
}

/* Append the directories of a colon-separated list to sys.path. False where an error is set. */
static int extend_path(const char *list)
{
    PyObject *path = PySys_GetObject("path"); /* borrowed */

    if (path == NULL || !PyList_Check(path)) {
        PyErr_SetString(PyExc_RuntimeError, "sys.path is not a list");
        return 0;
    }
    while (*list != '\0') {
        size_t length = strcspn(list, ":");
        PyObject *item = PyUnicode_DecodeFSDefaultAndSize(list, (Py_ssize_t)length);
        int there = item != NULL ? PySequence_Contains(path, item) : -1;

        if (there == 0 && length > 0)
            there = PyList_Append(path, item);
        Py_XDECREF(item);
        if (there < 0)
            return 0;
        list += length + (list[length] == ':');
    }
    return 1;
}

static void load_bridge(void)
{
    char doing[300];
    const char *path = setting("PIXFS_PYTHONPATH", PIXSPAN_PYTHON_PATH);
    PyObject *module = NULL;

    snprintf(doing, sizeof doing, "load the codec from %.200s (PIXFS_PYTHONPATH names others)",
             path);
    if (extend_path(path))
        module = PyImport_ImportModule("codec.native.bridge");
    if (module != NULL)
        run_function = PyObject_GetAttrString(module, "run");
    Py_XDECREF(module);
    if (run_function == NULL)
        take_error(doing);
}

static void start(void)
{
    /* Extension modules look for the interpreter among the symbols that everyone sees; a host
       that loaded this library privately (dlopen) has not put them there. */
    (void)dlopen(PIXSPAN_LIBPYTHON, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
    if (Py_IsInitialized() || start_interpreter()) {
        PyGILState_STATE gil = PyGILState_Ensure();
        load_bridge();
        PyGILState_Release(gil);
    }
    if (start_error[0] != '\0')
        fprintf(stderr, "pixspan_memory: %s\n", start_error);
}

/* Whether the whole input is memory of this process. A wrong size is the caller's most likely
   mistake, and its most expensive one: the check costs microseconds. */
static int is_mapped(const unsigned char *input, size_t size)
{
    enum { PAGES = 4096 };
    unsigned char resident[PAGES];
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t at = (uintptr_t)input & ~(page - 1);
    const uintptr_t stop = (uintptr_t)input + size;

    if (stop < (uintptr_t)input)
        return 0;
    while (at < stop) {
        size_t step = stop - at < PAGES * page ? stop - at : PAGES * page;

        if (mincore((void *)at, step, resident) != 0 && errno == ENOMEM)
            return 0;
        at += step;
    }
    return 1;
}

/* Copy the output for the caller. The GIL is held, and released while bytes are copied. */
static int take_output(PyObject *output, struct pixspan_process_info *info)
{
    Py_buffer from;

    if (output == Py_None)
        return 1;
    if (PyObject_GetBuffer(output, &from, PyBUF_SIMPLE) != 0)
        return 0;
    Py_BEGIN_ALLOW_THREADS
    info->output = malloc(from.len > 0 ? (size_t)from.len : 1);
    if (info->output != NULL) {
        memcpy(info->output, from.buf, (size_t)from.len);
        info->output_size = (size_t)from.len;
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&from);
    if (info->output == NULL)
        PyErr_NoMemory();
    return info->output != NULL;
}

/* Unpack what the bridge answered; the status, or -1 where an error is set. */
static int take_answer(PyObject *answered, struct pixspan_process_info *info)
{
    int status;
    PyObject *output;
    Py_ssize_t original, compressed, length[4];
    const char *text[4];

    if (!PyArg_ParseTuple(answered, "iOnny#y#y#y#", &status, &output, &original, &compressed,
                          &text[0], &length[0], &text[1], &length[1], &text[2], &length[2],
                          &text[3], &length[3]))
        return -1;
    if (!take_output(output, info))
        return -1;
    info->original_size = (size_t)original;
    info->compressed_size = (size_t)compressed;
    put_text(info->format, sizeof info->format, text[0], (size_t)length[0]);
    put_text(info->level, sizeof info->level, text[1], (size_t)length[1]);
    put_text(info->hash, sizeof info->hash, text[2], (size_t)length[2]);
    put_text(info->message, sizeof info->message, text[3], (size_t)length[3]);
    return status;
}

/* Ask the bridge; the GIL is held. */
static int run(int mode, const char *license, const unsigned char *input, size_t input_size,
               struct pixspan_process_info *info)
{
    int status = -1;
    PyObject *answered = NULL;
    PyObject *view = PyMemoryView_FromMemory((char *)(uintptr_t)input, (Py_ssize_t)input_size,
                                             PyBUF_READ);

    if (view != NULL)
        answered = PyObject_CallFunction(run_function, "iyOs", mode, license != NULL ? license : "",
                                         view, PIXSPAN_PUBLIC_KEY);
    if (answered != NULL)
        status = take_answer(answered, info);
    if (status < 0 && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        status = answer(info, PIXSPAN_STATUS_OUTPUT_BUFFER_OPEN_ERROR,
                        "there is no memory for the output: free some, or work on fewer files at"
                        " once");
    } else if (status < 0) {
        PyErr_WriteUnraisable(run_function);
        status = answer(info, PIXSPAN_STATUS_SUPPORTED_FAILED,
                        "internal error (see standard error): the input is untouched, keep it and"
                        " report this");
    }
    PyErr_Clear();
    Py_XDECREF(answered);
    Py_XDECREF(view);
    return status;
}

EXPORT int pixspan_process(int mode, const char *license, const unsigned char *input,
                           size_t input_size, struct pixspan_process_info *info)
{
    PyGILState_STATE gil;
    int status;

    if (info == NULL)
        return PIXSPAN_STATUS_OUTPUT_BUFFER_OPEN_ERROR;
    memset(info, 0, sizeof *info);
    if (input == NULL || input_size == 0)
        return answer(info, PIXSPAN_STATUS_INPUT_BUFFER_ERROR,
                      "the input is empty: was the file read, and whole?");
    if (input_size > PY_SSIZE_T_MAX || !is_mapped(input, input_size))
        return answer(info, PIXSPAN_STATUS_INPUT_BUFFER_ERROR,
                      "the input ends before input_size bytes: give its own size");
    pthread_once(&started, start);
    if (run_function == NULL)
        return answer(info, PIXSPAN_STATUS_SUPPORTED_FAILED, start_error);
    if (owner != 0 && owner != getpid())
        return answer(info, PIXSPAN_STATUS_SUPPORTED_FAILED,
                      "the library was used before fork(): use it in one process, or exec()");
    gil = PyGILState_Ensure();
    status = run(mode, license, input, input_size, info);
    PyGILState_Release(gil);
    return status;
}

EXPORT void pixspan_free(struct pixspan_process_info *info)
{
    if (info == NULL)
        return;
    free(info->output);
    info->output = NULL;
    info->output_size = 0;
}

EXPORT const char *pixspan_status_name(int status)
{
    static const char *const names[] = {
        "PIXSPAN_STATUS_SUCCESS",
        "PIXSPAN_STATUS_NOT_SUPPORTED",
        "PIXSPAN_STATUS_SUPPORTED_FAILED",
        "PIXSPAN_STATUS_ALREADY_COMPRESSED",
        "PIXSPAN_STATUS_ALREADY_DECOMPRESSED",
        "PIXSPAN_STATUS_INPUT_BUFFER_ERROR",
        "PIXSPAN_STATUS_OUTPUT_BUFFER_OPEN_ERROR",
        "PIXSPAN_STATUS_LICENSE_EXPIRED",
    };

    if (status < 0 || (size_t)status >= sizeof names / sizeof names[0])
        return "PIXSPAN_STATUS_UNKNOWN";
    return names[status];
}

EXPORT const char *pixspan_version(void)
{
    return PIXSPAN_VERSION;
}
