/* status.h - what a C function of kwsrt answers when its arguments can be wrong. */
#ifndef KWS_STATUS_H
#define KWS_STATUS_H

typedef enum {
    KWS_OK = 0,
    KWS_ERROR_ARGUMENT = 1,   /* a size or option outside its documented range */
    KWS_ERROR_NOT_FINITE = 2, /* a NaN or infinite sample */
    KWS_ERROR_TOO_LOUD = 3    /* a float sample far outside [-1, 1] */
} kws_status;

#endif
