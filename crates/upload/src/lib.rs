//! The job that sends files of measurements to m3ter's file upload service.
