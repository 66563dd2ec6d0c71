// For: each image of a plate (collection, folder, file with several) as a job of its own, with Nextflow
// Needs: Nextflow, `ssi` on the PATH, plates/run.yaml beside it (what all images have in common), then
//
//            nextflow run main.nf --plate $PWD/plate.zarr --options $PWD/run.yaml --results $PWD/results
//
// `ssi images` lists the images. Outputs are written to their final place, not to the work folder, so that a job that
// is tried again resumes.
nextflow.enable.dsl = 2

params.plate = null
params.options = null
params.results = "${launchDir}/results"
params.match = '*'

process LIST {
    output:
    path 'images.json'

    script:
    """
    ssi images '${params.plate}' --match '${params.match}' --json > images.json
    """
}

process DECONVOLVE {
    tag "${name}"
    errorStrategy 'retry'
    maxRetries 3

    input:
    tuple val(name), val(image), val(scene)

    output:
    val name

    script:
    """
    set -- '${params.options}' --set input.path='${image}' --set input.scene=${scene} \\
        --set output.path='${params.results}/${name}.zarr'
    ssi run "\$@"
    ssi verify "\$@"
    """
}

workflow {
    LIST()
    images = LIST.out
        .map { file -> new groovy.json.JsonSlurper().parse(file.toFile()).images }
        .flatten()
        .map { image -> tuple(image.name, image.path, "${image.scene}") }
    DECONVOLVE(images)
}
